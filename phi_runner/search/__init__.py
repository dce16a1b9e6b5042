"""The only home of Optuna: what the next trial tries, and which one is given up."""
