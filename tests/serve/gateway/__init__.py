"""Tests of the gateway in front of an endpoint's deployments."""
