"""Tests of phi_runner.stages."""
