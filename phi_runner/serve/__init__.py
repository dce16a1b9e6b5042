"""The local endpoint: HTTP contracts, limits and the key, in front of any engine. `python -m phi_runner.serve`."""
