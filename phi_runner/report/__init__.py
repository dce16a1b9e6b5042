"""A run that a person can read: one self-contained page, two runs side by side."""
