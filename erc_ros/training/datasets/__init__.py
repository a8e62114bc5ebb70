"""Readers of the data sets, each checking what it reads."""
