"""Sequential tests over seeds: a paired t test with declared looks, and an e-process for any number of seeds.

`Looks` declares the numbers of seeds at which a comparison is tested. The same nominal level applies at all of them
(Pocock 1977). The null distribution of the smallest p value over the looks comes from a simulation of the t statistics
themselves, so the error over all looks is as requested for any number of seeds. A comparison that stops early has a p
value of its own: the chance of a smallest p at or below the one observed. `e_value` needs no declared looks, so a study
that is extended later may read it at any time (Wang and Ramdas, "Anytime-valid t-tests and confidence sequences for
Gaussian means with unknown variance", 2023, the Gaussian mixture; Ville's inequality).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

# Shapes: S seeds, L looks, D draws of a simulation.
State = Literal["better", "worse", "equivalent", "futile", "undecided"]
LEVELS = 2000
"""Number of quantiles of the null distribution that are kept, evenly spaced in the logarithm."""


@dataclass(frozen=True)
class Looks:
    """When a comparison is tested, and the distribution of the smallest p value over all looks under the null."""

    at: tuple[int, ...]
    """Numbers of seeds, increasing, at least 2."""
    sided: Literal[1, 2]
    least_p: NDArray[np.float64]
    """Quantiles of the smallest p value over all looks under the null, at `chance`."""
    chance: NDArray[np.float64]

    def nominal(self, alpha: float) -> float:
        """The level of each look that gives `alpha` over all looks: reject if the p value of a look is below it."""
        return float(np.interp(alpha, self.chance, self.least_p))

    def p(self, values_S: ArrayLike) -> float:
        """P value of a comparison that was tested at all looks up to len(values); valid wherever it stopped.

        Args:
            values_S: paired differences by seed, in the order in which they were drawn.
        """
        found = [look_p(np.asarray(values_S)[:n], self.sided) for n in self.at if n <= len(np.asarray(values_S))]
        return float(np.interp(min(found), self.least_p, self.chance)) if found else 1.0


def looks(at: Sequence[int], rng: np.random.Generator, *, sided: Literal[1, 2] = 2, num_draws: int = 400_000) -> Looks:
    """Simulate the null: seeds drawn from a normal distribution of unknown width around 0.

    Args:
        at: numbers of seeds at which the comparison is tested.
        rng: stream for the simulation.
        sided: 2, or 1 if only a gain counts.
        num_draws: D; by default, the level at 5 % is exact to about 0.0002.

    Raises: ValueError unless the looks increase and start at 2 or more.
    """
    if not at or at[0] < 2 or any(later <= first for first, later in zip(at, at[1:], strict=False)):
        raise ValueError(f"looks must be increasing numbers of seeds, the first at least 2, got {list(at)}")
    least = np.concatenate([_least_p(at, rng, sided, part) for part in _parts(num_draws)])
    chance = np.concatenate([[0.0], np.geomspace(1 / num_draws, 1.0, LEVELS)])
    return Looks(tuple(at), sided, np.concatenate([[0.0], np.quantile(least, chance[1:])]), chance)


def _parts(total: int, size: int = 20_000) -> list[int]:
    return [min(size, total - start) for start in range(0, total, size)]


def _least_p(at: Sequence[int], rng: np.random.Generator, sided: int, num_draws: int) -> NDArray[np.float64]:
    draws_DS = rng.standard_normal((num_draws, at[-1]))
    least_D = np.ones(num_draws)
    for n in at:
        t_D = draws_DS[:, :n].mean(axis=1) / (draws_DS[:, :n].std(axis=1, ddof=1) / np.sqrt(n))
        p_D = sided * stats.t.sf(np.abs(t_D) if sided == 2 else t_D, n - 1)
        np.minimum(least_D, p_D, out=least_D)
    return least_D


def t_statistic(values_S: ArrayLike) -> float:
    """Mean of the differences over its standard error; 0 if all are 0, infinite if all are alike."""
    values = np.asarray(values_S, dtype=np.float64)
    mean, error = values.mean(), values.std(ddof=1) / np.sqrt(len(values))
    return float(mean / error) if error > 0 else float(np.copysign(np.inf, mean)) if mean else 0.0


def look_p(values_S: ArrayLike, sided: Literal[1, 2] = 2) -> float:
    """P value of one look by itself: a paired t test; 1 if all differences are 0."""
    t = t_statistic(values_S)
    if t == 0:
        return 1.0
    return float(sided * stats.t.sf(abs(t) if sided == 2 else t, np.size(values_S) - 1))


def repeated_interval(values_S: ArrayLike, level: float, sided: Literal[1, 2] = 2) -> tuple[float, float]:
    """Interval of the mean difference that covers simultaneously at all looks, for the nominal `level` of a look.

    A one-sided test has the interval that excludes 0 where the test rejects: each of its ends holds at the level.
    """
    values = np.asarray(values_S, dtype=np.float64)
    if len(values) < 2:
        return -np.inf, np.inf
    half = stats.t.ppf(1 - level / sided, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return float(values.mean() - half), float(values.mean() + half)


def e_value(values_S: ArrayLike, *, width: float = 1.0) -> float:
    r"""Evidence against "no difference" that may be read after every seed: at most 1 on average under the null.

    .. math::  e_n = \sqrt{\tfrac{c}{n + c}}
               \Bigl(\tfrac{(n + c) V}{(n + c) V - S^2}\Bigr)^{n / 2}, \qquad S = \sum x, \; V = \sum x^2

    Reject if it reaches 1 / alpha, now or at any later time.

    Args:
        values_S: paired differences by seed.
        width: standard deviation of the effect, in standard deviations of a difference, that the mixture expects;
            :math:`c = 1 / width^2`.
    """
    values = np.asarray(values_S, dtype=np.float64)
    n, c, squares = len(values), width**-2, float(values @ values)
    if squares == 0:
        return 1.0
    share = float(values.sum()) ** 2 / squares
    return float(np.exp(0.5 * np.log(c / (n + c)) - n / 2 * np.log1p(-share / (n + c))))


@dataclass(frozen=True)
class Question:
    """The question that a comparison asks."""

    alpha: float
    """Chance of a false verdict over all looks, for this comparison."""
    margin: float
    """Differences between -margin and margin count as none; with 0, equivalence is not tested."""
    futility: float = 0.1
    """A comparison ends as futile if the chance of any verdict at the remaining looks is below this."""


@dataclass(frozen=True)
class Reading:
    """A comparison at a look."""

    state: State
    estimate: float
    t: float
    """Statistic of the paired t test at this look."""
    low: float
    """Lower end of the repeated interval."""
    high: float
    p: float
    """P value over all looks so far, see `Looks.p`."""
    e: float
    chance: float | None
    """Chance of a verdict at the remaining looks, if future seeds are like those so far; None once decided."""


def read(values_S: ArrayLike, when: Looks, question: Question, rng: np.random.Generator) -> Reading:
    """What a comparison says at the look that it has reached.

    "equivalent" requires the whole repeated interval within the margin, "better" and "worse" an interval that
    excludes 0.

    Args:
        values_S: paired differences by seed; their number is that of one of the looks.
        when: the looks.
        question: levels and margin.
        rng: stream for the forecast, which decides futility only.
    """
    values = np.asarray(values_S, dtype=np.float64)
    level = when.nominal(question.alpha)
    low, high = repeated_interval(values, level, when.sided)
    state = _state(low, high, look_p(values, when.sided) <= level, float(values.mean()), question.margin)
    chance = None if state != "undecided" else _chance(values, when, question, level, rng)
    if chance is not None and (len(values) >= when.at[-1] or chance < question.futility):
        state = "futile"
    facts = float(values.mean()), t_statistic(values), low, high, when.p(values), e_value(values)
    return Reading(state, *facts, chance)


def _state(low: float, high: float, significant: bool, mean: float, margin: float) -> State:
    if -margin < low and high < margin:
        return "equivalent"
    if significant:
        return "better" if mean > 0 else "worse"
    return "undecided"


def _chance(
    values: NDArray[np.float64], when: Looks, question: Question, level: float, rng: np.random.Generator
) -> float:
    """Share of simulated futures with a verdict: mean and spread are drawn given the seeds so far, then new seeds."""
    n, draws, left_L = len(values), 500, np.array([look for look in when.at if look > len(values)], dtype=np.int64)
    spread_D = values.std(ddof=1) * np.sqrt((n - 1) / rng.chisquare(n - 1, draws))
    mean_D = values.mean() + spread_D / np.sqrt(n) * rng.standard_normal(draws)
    future_DS = mean_D[:, None] + spread_D[:, None] * rng.standard_normal((draws, when.at[-1] - n))
    path_DS = np.concatenate([np.broadcast_to(values, (draws, n)), future_DS], axis=1)
    sum_DL, square_DL = (part.cumsum(axis=1)[:, left_L - 1] for part in (path_DS, path_DS**2))
    error_DL = np.sqrt(np.maximum(square_DL - sum_DL**2 / left_L, 0) / (left_L - 1) / left_L)
    half_DL, centre_DL = stats.t.ppf(1 - level / when.sided, left_L - 1) * error_DL, sum_DL / left_L
    decided_DL = (np.abs(centre_DL) if when.sided == 2 else centre_DL) > half_DL
    decided_DL |= np.abs(centre_DL) + half_DL < question.margin
    return float(decided_DL.any(axis=1).mean())
