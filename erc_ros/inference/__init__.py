"""Model bundles, devices, and streaming emotion recognition. Uses neither ROS nor PyTorch."""
