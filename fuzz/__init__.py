"""Inputs made to break the parsers; see run.py."""
