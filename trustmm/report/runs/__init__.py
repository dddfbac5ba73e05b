"""Finished jobs as tables of runs."""
