"""Smaller and faster networks: schemes, and the gate that a quantized bundle has to pass."""
