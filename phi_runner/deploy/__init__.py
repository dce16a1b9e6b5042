"""Bring an endpoint up, prove that it answers, and replace it without a gap."""
