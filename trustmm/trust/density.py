"""From p-values to the probability of the null: Efron's local false discovery rate with a monotone density."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def p_values(scores: Floats, null: Floats) -> Floats:
    """Share of null scores at least as large, the observed counted among them: uniform for a score from the null.

    Args:
        scores: (n,), large where an observation does not look like the null.
        null: (N,) draws of the null.
    """
    below = np.searchsorted(np.sort(null), scores, side="left")
    return (1 + len(null) - below) / (1 + len(null))


def decreasing_density(p: Floats) -> Floats:
    """The non-increasing density of largest likelihood on [0, 1] at each of its own points, (n,).

    It is the slope of the least concave majorant of the distribution function (Grenander, 1956).
    """
    levels, place, counts = np.unique(p, return_inverse=True, return_counts=True)
    x = np.append(0.0, np.append(levels, 1.0) if levels[-1] < 1 else levels)
    y = np.append(0.0, np.cumsum(counts) / len(p))
    y = np.append(y, np.ones(len(x) - len(y)))
    corners = _upper_hull(x, y)
    slopes = np.diff(y[corners]) / np.diff(x[corners])
    return slopes[np.searchsorted(x[corners], levels, side="left") - 1][place]


def _upper_hull(x: Floats, y: Floats) -> list[int]:
    """Corners of the least concave function above the points, which come in order of x."""
    corners: list[int] = []
    for i in range(len(x)):
        while len(corners) > 1:
            a, b = corners[-2:]
            if (y[b] - y[a]) * (x[i] - x[a]) > (y[i] - y[a]) * (x[b] - x[a]):
                break
            corners.pop()
        corners.append(i)
    return corners


def local_fdr(p: Floats, eta: float) -> Floats:
    """P(null | p) = min(1, eta f0(p) / f(p)) with f0 = 1 (Efron, JASA 2004), (n,); it never falls as p grows.

    Args:
        p: p-values of all observations.
        eta: share of nulls among them.
    """
    return np.minimum(1.0, eta / decreasing_density(p))
