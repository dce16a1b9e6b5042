"""The chat page: a server of its own on this machine, made of NiceGUI's elements; only it knows the endpoint's key."""
