"""Model bundle, execution backends and the streaming recogniser. No ROS, no torch."""
