"""A Slurm cluster's engine."""
