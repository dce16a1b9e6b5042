"""azure-ai-ml for tests: importing it raises warnings about its own libraries, which are no findings of ours."""

import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import azure.ai.ml
    import azure.ai.ml._artifacts._blob_storage_helper
    import azure.ai.ml.entities

MLClient = azure.ai.ml.MLClient
entities = azure.ai.ml.entities
