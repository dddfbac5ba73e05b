"""Controlled damage to the inputs: wrong features, missing or spurious clicks."""
