"""Tests of the before/after card."""
