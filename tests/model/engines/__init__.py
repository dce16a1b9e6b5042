"""Tests of the engines inside the endpoint's process."""
