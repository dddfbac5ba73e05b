"""Data sets: what a job starts from."""
