"""Many jobs: who runs them, what became of each, and which one comes next."""
