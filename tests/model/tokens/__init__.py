"""Tests of phi_runner.model.tokens."""
