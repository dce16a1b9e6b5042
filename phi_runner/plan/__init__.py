"""What would run, be reused, be created, and what it takes: known before anything is paid."""
