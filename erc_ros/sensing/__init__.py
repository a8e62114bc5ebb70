"""Raw samples on one clock: audio stream, frame buffer, face tracks. No ROS."""
