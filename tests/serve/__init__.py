"""Tests of phi_runner.serve."""
