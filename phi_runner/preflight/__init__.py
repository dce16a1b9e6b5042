"""What is wrong with chat rows, found before anything is trained on them."""
