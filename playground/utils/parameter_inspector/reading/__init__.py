"""A path -> the layers of a model: alone in knowing files, ONNX and how weights are stored."""
