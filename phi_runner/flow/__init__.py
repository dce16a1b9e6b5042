"""The chat application in front of an endpoint: a Prompt flow folder, its test, its page, and the terminal."""
