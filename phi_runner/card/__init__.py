"""The before/after card: what training made better or worse on held-out prompts, and how sure that is."""
