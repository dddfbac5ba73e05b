"""Hydra finds the sweeper ``trustmm_optuna`` here."""
