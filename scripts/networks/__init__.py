"""How the published networks in erc_ros/models were exported to ONNX; run once for each."""
