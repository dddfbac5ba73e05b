"""Figures of a study, readable in print and without colours."""
