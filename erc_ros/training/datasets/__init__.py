"""Readers of the data sets, which check the files that they read."""
