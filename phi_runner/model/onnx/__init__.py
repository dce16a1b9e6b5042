"""A registered model as an ONNX file: exported once, compared with transformers, answered from without torch."""

import os

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # read at its import: onnxruntime reports to Microsoft otherwise
