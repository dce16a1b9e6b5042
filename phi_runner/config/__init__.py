"""What a run may be told: schemas, the Hydra bridge, cross-field rules, and words for wrong input."""
