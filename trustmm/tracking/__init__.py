"""Runs in a tracking store."""
