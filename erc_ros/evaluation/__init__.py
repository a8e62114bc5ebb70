"""Recordings against truth: what was said, by whom, and how it felt."""
