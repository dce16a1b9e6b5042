"""Tests of the scoring code."""
