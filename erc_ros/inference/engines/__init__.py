"""Models prepared for one machine: saved ONNX Runtime graphs and TensorRT engines."""
