"""Audio samples and camera frames on one clock: audio stream, image decoding, face tracking."""
