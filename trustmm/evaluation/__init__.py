"""Full ranking of the held-out items, and the metrics on their ranks."""
