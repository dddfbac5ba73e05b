"""log f/f0 from a classifier of observed against shuffled pairs: quadratic logistic regression, Newton's steps."""

import numpy as np
from numpy.typing import NDArray

from trustmm.trust.pairs import Pairs

Floats = NDArray[np.float64]
# Shapes: n items, S shuffles, V views, Q = 1 + V + V (V + 1) / 2 terms.
PENALTY = 1.0
"""Of the squared coefficients, in pairs."""
STEPS = 50
ENOUGH = 1e-9


def log_ratio(pairs: Pairs, views: Floats) -> Floats:
    """Log f(s)/f0(s) up to a constant, of observed and shuffled pairs, by the classifier of the other half.

    Args:
        pairs: who is in which half.
        views: (S + 1, n, V), the observed pairs first.

    Returns: (S + 1, n).
    """
    result = np.empty(views.shape[:2])
    for half in (0, 1):
        learned, judged = pairs.half != half, pairs.half == half
        null = views[1:, learned].reshape(-1, views.shape[2])
        mean, scale = null.mean(axis=0), null.std(axis=0)
        terms = quadratic((views - mean) / np.where(scale > 0, scale, 1.0))
        result[:, judged] = terms[:, judged] @ fit_logistic(terms[0, learned], terms[1:, learned])
    return result


def quadratic(views: Floats) -> Floats:
    """1, the views, their squares and products along the last axis, (..., Q)."""
    first, second = np.triu_indices(views.shape[-1])
    return np.concatenate([np.ones_like(views[..., :1]), views, views[..., first] * views[..., second]], axis=-1)


def fit_logistic(observed: Floats, shuffled: Floats) -> Floats:
    """Coefficients (Q,) of observed (n, Q) against shuffled (S, n, Q) pairs, both sorts of equal weight in all."""
    terms = np.concatenate([observed, shuffled.reshape(-1, observed.shape[1])])
    label = np.arange(len(terms)) < len(observed)
    weight = np.where(label, 1.0, 1 / len(shuffled))
    penalty = np.full(terms.shape[1], PENALTY)
    penalty[0] = 0
    coefficients = np.zeros(terms.shape[1])
    value = _loss(terms, label, weight, penalty, coefficients)
    for _ in range(STEPS):
        chance = 0.5 * (1 + np.tanh(0.5 * (terms @ coefficients)))
        slope = terms.T @ (weight * (chance - label)) + penalty * coefficients
        curve = (terms * (weight * chance * (1 - chance))[:, None]).T @ terms + np.diag(penalty + 1e-9)
        step = np.linalg.solve(curve, slope)
        # Half steps until the loss falls: it is convex, so a full step can only be too long.
        for _ in range(30):
            tried = _loss(terms, label, weight, penalty, coefficients - step)
            if tried <= value:
                break
            step = step / 2
        gained, value, coefficients = value - tried, tried, coefficients - step
        if gained < ENOUGH * len(observed):
            break
    return coefficients


def _loss(terms: Floats, label: NDArray[np.bool_], weight: Floats, penalty: Floats, coefficients: Floats) -> float:
    margin = np.where(label, -1.0, 1.0) * (terms @ coefficients)
    return float((weight * np.logaddexp(0, margin)).sum() + 0.5 * (penalty * coefficients**2).sum())
