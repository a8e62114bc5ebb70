"""Export of the published networks in erc_ros/models to ONNX; run once per network."""
