"""This machine's engine."""
