"""Inference over seeds: the seed is the unit, and differences are paired.

A seed is one training (and, where tied, one draw of the corruption). Users are not replicates: a model that is trained
again with another seed differs from itself by more than a test over users allows for.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

# Shapes: S seeds, U users, D draws of the bootstrap.
BOOTSTRAP_FROM = 5
"""Smallest number of seeds for which a bootstrap over seeds makes sense."""


@dataclass(frozen=True)
class Interval:
    """An estimate over seeds, with its interval."""

    estimate: float
    low: float
    """-inf with a single seed, which says nothing about the spread."""
    high: float
    p: float
    """Two-sided p value of "no effect"; 1 with a single seed."""
    num_seeds: int

    @property
    def half_width(self) -> float:
        """Half the width of the interval."""
        return (self.high - self.low) / 2

    def one_of(self, number: int, *, level: float = 0.95) -> "Interval":
        """This interval, widened so that `number` such intervals cover simultaneously at the level (Bonferroni)."""
        if self.num_seeds < 2:
            return self
        narrow, wide = (stats.t.ppf(1 - (1 - level) / 2 / n, self.num_seeds - 1) for n in (1, number))
        half = self.half_width * float(wide / narrow)
        return replace(self, low=self.estimate - half, high=self.estimate + half)


def over_seeds(values: ArrayLike, *, level: float = 0.95) -> Interval:
    """Mean over seeds and its t interval; a paired one if the values are differences within seeds.

    Args:
        values: one per seed, (S,), finite.
        level: confidence level of the interval.

    Raises: ValueError if there are no values, or non-finite ones.
    """
    values_S = np.asarray(values, dtype=np.float64)
    if not len(values_S) or not np.isfinite(values_S).all():
        raise ValueError(f"over_seeds needs at least one value, all finite, got {values_S.tolist()}")
    mean, size = float(values_S.mean()), len(values_S)
    if size == 1:
        return Interval(mean, -np.inf, np.inf, 1.0, 1)
    error = float(values_S.std(ddof=1) / np.sqrt(size))
    return _t_interval(mean, error, size, level)


def _t_interval(mean: float, error: float, size: int, level: float) -> Interval:
    half = float(stats.t.ppf((1 + level) / 2, size - 1)) * error
    p = float(2 * stats.t.sf(abs(mean) / error, size - 1)) if error > 0 else float(mean == 0)
    return Interval(mean, mean - half, mean + half, p, size)


def crossed_bootstrap(
    differences_SU: ArrayLike, rng: np.random.Generator, *, num_draws: int = 1000, level: float = 0.95
) -> Interval | None:
    """Interval for new seeds *and* new users, both resampled independently (Owen 2007, the pigeonhole bootstrap).

    The bootstrap gives the standard error, multiplied by sqrt(S / (S - 1)) because S resampled seeds vary less than S
    new ones. The quantile is that of the t distribution with S - 1 degrees of freedom, since percentiles are too narrow
    with a handful of seeds.

    Args:
        differences_SU: paired differences by seed and user, (S, U).
        rng: stream for the draws.
        num_draws: D.
        level: confidence level of the interval.

    Returns: None with fewer than `BOOTSTRAP_FROM` seeds.
    """
    values_SU = np.asarray(differences_SU, dtype=np.float32)
    num_seeds, num_users = values_SU.shape
    if num_seeds < BOOTSTRAP_FROM:
        return None
    means_D = np.empty(num_draws)
    for draw in range(num_draws):
        seeds_S = np.bincount(rng.integers(0, num_seeds, num_seeds), minlength=num_seeds).astype(np.float32)
        users_U = np.bincount(rng.integers(0, num_users, num_users), minlength=num_users).astype(np.float32)
        means_D[draw] = seeds_S @ (values_SU @ users_U) / (num_seeds * num_users)
    error = float(means_D.std(ddof=1) * np.sqrt(num_seeds / (num_seeds - 1)))
    return _t_interval(float(values_SU.mean(dtype=np.float64)), error, num_seeds, level)


def per_user_p(differences_U: ArrayLike) -> float:
    """Two-sided p value of a paired t test over the users of one seed. It concerns this trained pair only."""
    values_U = np.asarray(differences_U, dtype=np.float64)
    error = values_U.std(ddof=1) / np.sqrt(len(values_U))
    return float(2 * stats.t.sf(abs(values_U.mean()) / error, len(values_U) - 1)) if error > 0 else 1.0


def holm(p_values: Sequence[float]) -> NDArray[np.float64]:
    """P values adjusted for their number (Holm 1979): reject if the adjusted value is below the level."""
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    factors = np.arange(len(p), 0, -1)
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * factors), 1.0)
    return adjusted


def area_under_curve(etas: ArrayLike, values: ArrayLike) -> float:
    """Mean height of a curve over eta: its trapezoidal area divided by its width; for a flat curve, its value.

    Args:
        etas: at least two, increasing.
        values: one per eta.
    """
    x, y = np.asarray(etas, dtype=np.float64), np.asarray(values, dtype=np.float64)
    if len(x) < 2 or (np.diff(x) <= 0).any():
        raise ValueError(f"area_under_curve needs two or more increasing etas, got {x.tolist()}")
    return float(np.trapezoid(y, x) / (x[-1] - x[0]))


def relative_drop(first: float, last: float) -> float:
    """Share of the first value that is lost at the last one: 0 nothing, 1 everything, below 0 a gain."""
    return (first - last) / first if first else float("nan")


def slope(x: ArrayLike, y: ArrayLike) -> float:
    """Least-squares slope."""
    places, values = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    centred = places - places.mean()
    return float(centred @ values / (centred @ centred))
