"""What builds and checks the documentation: the generated reference, the MkDocs hook, the link check."""
