"""The process itself: signals, memory, threads."""
