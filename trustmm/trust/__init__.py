"""How far an observation can be believed, without labels."""
