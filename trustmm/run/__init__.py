"""One job to a stored and tracked result."""
