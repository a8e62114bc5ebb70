"""TensorRT engines of a bundle, built for one computer."""
