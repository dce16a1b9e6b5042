"""Measurements: how fast the command line starts, how fast data is prepared, how fast models are trained."""
