"""A registered model as an ONNX file: exported once, compared with transformers, answered from without torch."""
