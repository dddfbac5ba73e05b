"""Statistics, verdicts and claims."""
