"""How many items carry somebody else's content? An estimate that needs no label."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trustmm.graph.neighbours import unit_rows
from trustmm.rectifier.projection import ProjectionTraining, fit_projections

FOLDS = 5
MOST_ITEMS = 20_000
"""A sample of this size is enough: the standard error of a share is below 0.004."""
QUANTILES = np.linspace(0.05, 0.3, 26)


def estimate_mismatch(
    features_IX: Tensor,
    anchors_ID: Tensor,
    usable_I: NDArray[np.bool_],
    *,
    training: ProjectionTraining,
    rng: np.random.Generator,
) -> float:
    """Estimated share of items whose features do not follow their anchor, in [0, 1].

    A projection fitted on four fifths of the items scores the other fifth, five times; the same items with shuffled
    anchors are the null. Mismatched pairs score like the null and matched ones hardly ever score as low, so the share
    of scores below a low quantile of the null, over the null's own share, bounds the mismatched share (Storey, JRSS-B
    2002).

    Args:
        features_IX: raw features.
        anchors_ID: anchors.
        usable_I: items with a trained anchor.
        training: of the projections.
        rng: stream for folds, shuffles and projections.
    """
    chosen = rng.permutation(np.flatnonzero(usable_I))[:MOST_ITEMS]
    if len(chosen) < 2 * FOLDS:
        return 0.0
    fold = np.arange(len(chosen)) % FOLDS
    index = torch.from_numpy(chosen).to(features_IX.device)
    features, anchors = features_IX[index], unit_rows(anchors_ID[index])
    held_out = torch.from_numpy(fold[:, None] == np.arange(FOLDS)).to(features.device)
    maps = fit_projections(features, anchors, ~held_out, rho=1.0, training=training, rng=rng)
    projected = torch.cat([maps(rows) for rows in features.split(training.batch_size)])[held_out]
    shuffled = anchors[torch.from_numpy(_shuffle_within(fold, rng)).to(features.device)]
    scores = (projected * anchors).sum(dim=1).cpu().numpy()
    null = (projected * shuffled).sum(dim=1).cpu().numpy()
    return storey_share(scores, null)


def storey_share(scores: NDArray[np.float32], null: NDArray[np.float32]) -> float:
    """Smallest over low quantiles q of share(score <= null quantile q) / q, at most 1."""
    thresholds = np.quantile(null, QUANTILES)
    below = np.searchsorted(np.sort(scores), thresholds, side="right") / len(scores)
    return float(min(1.0, (below / QUANTILES).min()))


def _shuffle_within(fold: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    """A permutation that moves items within their fold only."""
    order = np.argsort(fold, kind="stable")
    shuffled = np.lexsort((rng.random(len(fold)), fold))
    result = np.empty(len(fold), dtype=np.int64)
    result[order] = shuffled
    return result
