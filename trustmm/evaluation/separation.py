"""How well one number tells two groups apart, and how unequally a mass is spread."""

import numpy as np
from numpy.typing import NDArray


def auc(low: NDArray[np.float64], high: NDArray[np.float64]) -> float:
    """Chance that one of `high` exceeds one of `low`, ties half: 0.5 says nothing, 1 all; NaN for an empty group."""
    if not len(low) or not len(high):
        return float("nan")
    ordered = np.sort(low)
    below = np.searchsorted(ordered, high, side="left") + np.searchsorted(ordered, high, side="right")
    return float(below.sum() / (2 * len(low) * len(high)))


def gini(mass: NDArray[np.float64]) -> float:
    """Gini coefficient of non-negative masses: 0 when all are equal, near 1 when one holds everything."""
    ordered = np.sort(mass)
    ranks = np.arange(1, len(mass) + 1)
    return float(((2 * ranks - len(mass) - 1) * ordered).sum() / (len(mass) * ordered.sum()))
