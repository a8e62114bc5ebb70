"""Bags in, estimates and a timeline out. Needs the extra `[replay]`."""
