"""What the serving benchmarks share: the model, the prompts, clients on raw sockets, servers, and tables."""
