"""Neural networks as functions of named arrays; opens all ONNX Runtime sessions."""
