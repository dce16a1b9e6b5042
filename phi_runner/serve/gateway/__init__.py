"""The process in front of an endpoint's deployments: it keeps the address, divides the traffic, runs the engines."""
