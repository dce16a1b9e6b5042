"""Tests of phi_runner.compute."""
