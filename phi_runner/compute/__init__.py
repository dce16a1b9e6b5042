"""Where a stage computes when that is not this machine."""
