"""Utterance assembly: voice activity detection, speaker diarization and alignment of ASR text."""
