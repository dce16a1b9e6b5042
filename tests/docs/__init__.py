"""The documentation is held against the code: commands, settings, paths, messages, links."""
