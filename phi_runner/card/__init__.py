"""The before/after card: figures with intervals, and whether the model may be registered."""
