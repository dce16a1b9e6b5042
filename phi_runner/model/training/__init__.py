"""Fine-tuning with TRL: what is chosen for speed, the trainer, its checkpoints, and what it tells."""
