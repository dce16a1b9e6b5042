"""The frame that every page a run leaves is set in: one file, no network, phone and print."""
