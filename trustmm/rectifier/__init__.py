"""Rectifiers: features in, features of the same shape out, offline."""
