"""The only home of Prompt flow: its client, its serving app and its batch runs, each in a process of its own."""
