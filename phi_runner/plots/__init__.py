"""The only home of matplotlib: what runs, data and sweeps leave as pictures, one file a subject."""
