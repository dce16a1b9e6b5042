"""Tests of phi_runner.deploy."""
