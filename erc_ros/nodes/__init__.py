"""The ROS 2 nodes, message adapters and diagnostics."""
