"""Views: ways in which an item's feature may agree with what else is known of it, none fitted on the item itself.

A view is a query of the item and a target made of a feature, rows of length 1 each; their product is the agreement, so
the same view is taken of the item's own feature and of a stranger's.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from trustmm.trust.neighbours import ClickNeighbours
from trustmm.trust.pairs import FOLDS, Pairs

Floats = NDArray[np.float32]
# Shapes: n judged items, C principal coordinates of a feature, D anchor width, X raw width.
COORDINATES = 128
"""Principal coordinates that stand for a feature."""
CROSS = 64
"""Those that another modality predicts."""
RIDGE = 1e-2
"""Of a regression, in mean squares of a regressor."""
POWER_STEPS = 3
FAR = 40
"""Binary exponent from which on sums of squares could leave float32."""


class View(NamedTuple):
    """Rows of length 1 (or 0) of each item, (n, K) both."""

    query: Floats
    target: Floats


def anchor_view(pairs: Pairs, coordinates_NC: Floats, anchors_ND: Floats, weight_N: NDArray[np.float64]) -> View:
    """The anchor, and what the feature says of it: ridge regression on the other folds."""
    anchors_ND = unit(anchors_ND)
    centred = anchors_ND - _mean(anchors_ND, weight_N)
    return View(unit(centred), unit(cross_fitted_ridge(pairs, coordinates_NC, centred, weight_N)))


def structure_view(neighbours: ClickNeighbours, coordinates_NC: Floats, weight_N: NDArray[np.float64]) -> View:
    """The mean feature of the neighbours in clicks, and the feature: do items near in clicks look alike?"""
    centred = coordinates_NC - _mean(coordinates_NC, weight_N)
    return View(unit(neighbours.mean(centred, weight_N)), unit(centred))


def cross_view(pairs: Pairs, other_NC: Floats, coordinates_NC: Floats, weight_N: NDArray[np.float64]) -> View:
    """What another modality says of the feature (ridge regression on the other folds), and the feature."""
    centred = coordinates_NC[:, :CROSS] - _mean(coordinates_NC[:, :CROSS], weight_N)
    return View(unit(cross_fitted_ridge(pairs, other_NC, centred, weight_N)), unit(centred))


def principal_coordinates(rows_NX: Floats, rng: np.random.Generator) -> Floats:
    """Centred rows in at most `COORDINATES` principal directions, largest first, (n, C).

    A randomised range finder with power steps (Halko, Martinsson & Tropp, SIAM Review 2011, Alg. 4.4).

    Args:
        rows_NX: features; the result is in the unit of `levelled`.
        rng: stream of the first directions.
    """
    rows_NX = levelled(rows_NX)
    centred = rows_NX - rows_NX.mean(axis=0, dtype=np.float64).astype(np.float32)
    count = min(COORDINATES, *centred.shape)
    basis = rng.standard_normal((centred.shape[1], count)).astype(np.float32)
    for _ in range(POWER_STEPS):
        basis, _ = np.linalg.qr(centred.T @ (centred @ basis))
    projected = centred @ basis
    _, turn = np.linalg.eigh((projected.T @ projected).astype(np.float64))
    return projected @ turn[:, ::-1].astype(np.float32)


def cross_fitted_ridge(pairs: Pairs, x_NC: Floats, y_ND: Floats, weight_N: NDArray[np.float64]) -> Floats:
    """Predictions of y by x for each fold, from weighted ridge regression with an intercept on the others, (n, D)."""
    result = np.empty_like(y_ND)
    parts = [products(x_NC[pairs.fold == fold], y_ND[pairs.fold == fold], weight_N[pairs.fold == fold])
                for fold in range(FOLDS)]  # fmt: skip
    for fold in range(FOLDS):
        seen = [sum(part) for part in zip(*(one for k, one in enumerate(parts) if k != fold), strict=True)]
        offset, coefficients = solve_ridge(*seen)
        held_out = pairs.fold == fold
        result[held_out] = x_NC[held_out] @ coefficients.astype(np.float32) + offset.astype(np.float32)
    return result


def products(x_NC: Floats, y_ND: Floats, weight_N: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
    """Weighted sums that a regression of y on x needs: 1, x, y, x x, x y."""
    weighted = x_NC * weight_N[:, None].astype(np.float32)
    sums = (weight_N.sum(), weight_N @ x_NC, weight_N @ y_ND, weighted.T @ x_NC, weighted.T @ y_ND)
    return tuple(np.asarray(one, dtype=np.float64) for one in sums)


def solve_ridge(
    total: NDArray[np.float64],
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    xx: NDArray[np.float64],
    xy: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Intercept (D,) and coefficients (C, D) from weighted sums; zeros where nothing has weight."""
    if not total > 0:
        return np.zeros_like(y), np.zeros_like(xy)
    gram = xx - np.outer(x, x) / total
    gram[np.diag_indices_from(gram)] += RIDGE * max(np.trace(gram) / len(gram), 1e-12)
    coefficients = np.linalg.solve(gram, xy - np.outer(x, y) / total)
    return (y - x @ coefficients) / total, coefficients.astype(np.float64)


def levelled(rows_NX: Floats) -> Floats:
    """The rows in another unit, a power of 2, so that sums of their squares stay within float32.

    A row that is far from the usual one even so (2^40) is brought to its length.
    """
    exponent, content = _exponents(rows_NX)
    usual = int(np.median(exponent[content])) if content.any() else 0
    far = content & (np.abs(exponent - usual) > FAR)
    return np.ldexp(rows_NX, -np.where(far, exponent, usual)[:, None])


def _exponents(rows_NX: Floats) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """Binary exponent of each row's largest entry, and whether it has any, (n,)."""
    largest = np.maximum(rows_NX.max(axis=1, initial=0), -rows_NX.min(axis=1, initial=0))
    return np.frexp(largest)[1], largest > 0


def unit(rows_NK: Floats) -> Floats:
    """Rows of length 1 at any finite scale; zero rows stay zero."""
    exponent, _ = _exponents(rows_NK)
    if np.abs(exponent).max(initial=0) > FAR:
        rows_NK = np.ldexp(rows_NK, -exponent[:, None])
    length = np.sqrt(np.einsum("nk,nk->n", rows_NK, rows_NK))[:, None]
    return (rows_NK / np.where(length > 0, length, np.inf)).astype(np.float32, copy=False)


def _mean(rows_NK: Floats, weight_N: NDArray[np.float64]) -> Floats:
    total = weight_N.sum()
    return ((weight_N @ rows_NK) / (total if total > 0 else np.inf)).astype(np.float32)
