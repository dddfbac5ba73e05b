"""Seeds that have every value of a comparison."""

import pandas as pd


def complete_curves(rows: pd.DataFrame, metric: str, x: str = "corruption.eta") -> pd.DataFrame | None:
    """Values by seed (rows) and x (columns, increasing) of the seeds that have them all; None without two points."""
    by_seed = common_seeds(rows.pivot_table(index="seed", columns=x, values=metric, aggfunc="mean"))
    return by_seed if by_seed.shape[0] and by_seed.shape[1] > 1 else None


def common_seeds(by_seed: pd.DataFrame) -> pd.DataFrame:
    """The rows (seeds) that have every column, after columns that most rows lack are left out."""
    return by_seed.loc[:, by_seed.notna().mean() > 0.5].dropna()
