"""Tests of phi_runner.azureml."""
