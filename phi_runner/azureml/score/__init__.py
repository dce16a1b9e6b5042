"""Our scoring code for Azure's inference server: staged with the parts of the package that it needs."""
