"""From chat data to a fine-tuned Phi model that people talk to, in one declarative run."""

__version__ = "0.1.0"
