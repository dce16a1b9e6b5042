"""Tests of phi_runner.data."""
