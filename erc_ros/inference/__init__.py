"""Model bundle, execution backends and the streaming recognizer. No ROS, no torch."""
