"""Quantization of networks: schemes, and the acceptance test (gate) of quantized bundles."""
