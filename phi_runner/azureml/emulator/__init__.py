"""A stand-in for the parts of Azure that a run uses, on loopback: it executes jobs and serves deployments for real."""
