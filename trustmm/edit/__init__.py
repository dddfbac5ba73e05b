"""Edits of the training edges by a collaborative prior."""
