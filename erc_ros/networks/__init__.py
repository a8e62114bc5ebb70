"""Neural networks as functions of named arrays: the one place where ONNX sessions are opened."""
