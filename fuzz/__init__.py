"""Fuzzing of the parsers; see run.py."""
