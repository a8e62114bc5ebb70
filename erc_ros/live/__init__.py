"""Microphone and camera of this machine through the pipeline, and to the ROS 2 nodes."""
