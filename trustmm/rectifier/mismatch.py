"""How many items carry somebody else's content? An estimate that needs no label."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trustmm.graph.neighbours import unit_rows
from trustmm.rectifier.projection import ProjectionTraining, fit_projections
from trustmm.trust.storey import LEAST_ITEMS, Estimate, storey

FOLDS = 5
MOST_ITEMS = 20_000
"""A sample of this size is enough: the standard error of a share is below 0.004."""
SHUFFLES = 20
"""Null scores of an item: so many that their noise is small beside that of the items."""


def estimate_mismatch(
    features_IX: Tensor,
    anchors_ID: Tensor,
    usable_I: NDArray[np.bool_],
    *,
    training: ProjectionTraining,
    rng: np.random.Generator,
) -> Estimate:
    """Estimated share of items whose features do not follow their anchor, in [0, 1], and its standard error.

    A projection fitted on four fifths of the items scores the other fifth, five times; the same items with shuffled
    anchors are the null. A mismatched pair scores like the null and a matched one higher, so the mismatched share is
    Storey's share of nulls among the p-values, the shares of null scores that are at least an item's own.

    Args:
        features_IX: raw features.
        anchors_ID: anchors.
        usable_I: items with a trained anchor.
        training: of the projections.
        rng: stream for folds, shuffles, projections and the bootstrap.

    Returns: NaN twice where there are too few items to tell, see `storey`.
    """
    chosen = rng.permutation(np.flatnonzero(usable_I))[:MOST_ITEMS]
    if len(chosen) < LEAST_ITEMS:
        return Estimate(np.nan, np.nan)
    fold = np.arange(len(chosen)) % FOLDS
    index = torch.from_numpy(chosen).to(features_IX.device)
    features, anchors = features_IX[index], unit_rows(anchors_ID[index])
    held_out = torch.from_numpy(fold[:, None] == np.arange(FOLDS)).to(features.device)
    maps = fit_projections(features, anchors, ~held_out, rho=1.0, training=training, rng=rng)
    projected = torch.cat([maps(rows) for rows in features.split(training.batch_size)])[held_out]
    shuffles = [torch.from_numpy(_shuffle_within(fold, rng)).to(features.device) for _ in range(SHUFFLES)]
    scores, *null = ((projected * rows).sum(dim=1).cpu().numpy() for rows in (anchors, *(anchors[s] for s in shuffles)))
    return storey(p_values(scores, np.concatenate(null)), rng)


def p_values(scores: NDArray[np.float32], null: NDArray[np.float32]) -> NDArray[np.float64]:
    """Share of the null at or above each score, the score itself counted in (Davison & Hinkley, 1997, Eq. 4.11)."""
    below = np.searchsorted(np.sort(null), scores, side="left")
    return (1 + len(null) - below) / (1 + len(null))


def _shuffle_within(fold: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    """A permutation that moves items within their fold only."""
    order = np.argsort(fold, kind="stable")
    shuffled = np.lexsort((rng.random(len(fold)), fold))
    result = np.empty(len(fold), dtype=np.int64)
    result[order] = shuffled
    return result
