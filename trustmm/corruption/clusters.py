"""Groups of items with similar content: k-means by cosine, in row blocks, without a copy of the features."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trustmm.graph.edges import IntArray
from trustmm.graph.neighbours import unit_rows

# Shapes: I items, D columns, C clusters, B rows of a block, S rows of the sample that gives the first centres.
ROUNDS = 10
BLOCK = 4096
SAMPLE_PER_CLUSTER = 20
NO_CONTENT = -1
"""Label of zero rows, which have no direction."""


def cosine_clusters(rows_ID: NDArray[np.float32], count: int, rng: np.random.Generator) -> IntArray:
    """Spherical k-means (Dhillon & Modha, Machine Learning 2001), started as k-means++.

    Args:
        rows_ID: features, left as they are.
        count: clusters, at least 1; fewer come out where there are fewer different rows.
        rng: draws the first centres, as many numbers for equal rows and counts.

    Returns: the label of each row, (I,), below `count`; `NO_CONTENT` for zero rows.
    """
    content = np.flatnonzero(rows_ID.any(axis=1))
    if not len(content):
        return np.full(len(rows_ID), NO_CONTENT)
    sample = np.sort(rng.permutation(content)[: SAMPLE_PER_CLUSTER * count])
    centre_CD = first_centres(unit_rows(torch.from_numpy(rows_ID[sample])), count, rng)
    for _ in range(ROUNDS):
        _, sum_CD = _assign(rows_ID, centre_CD)
        centre_CD = torch.where(sum_CD.any(dim=1, keepdim=True), unit_rows(sum_CD), centre_CD)
    label, _ = _assign(rows_ID, centre_CD)
    return label


def first_centres(unit_SD: Tensor, count: int, rng: np.random.Generator) -> Tensor:
    """At most `count` different rows, each drawn by its squared distance to those before it.

    Source: k-means++, Arthur & Vassilvitskii, SODA 2007. For rows of length 1 the distance is 2 (1 - cosine).
    """
    chosen = [int(rng.integers(len(unit_SD)))]
    distance = np.full(len(unit_SD), np.inf)
    for _ in range(min(count, len(unit_SD)) - 1):
        cosine = (unit_SD @ unit_SD[chosen[-1]]).double().numpy()
        distance = np.minimum(distance, np.maximum(1 - cosine, 0))
        distance[chosen[-1]] = 0
        if not distance.any():
            break
        chosen.append(int(rng.choice(len(unit_SD), p=distance / distance.sum())))
    return unit_SD[chosen]


def _assign(rows_ID: NDArray[np.float32], centre_CD: Tensor) -> tuple[IntArray, Tensor]:
    """The nearest centre of each row, and the sum of each centre's rows of length 1."""
    label = np.empty(len(rows_ID), dtype=np.int64)
    sum_CD = torch.zeros_like(centre_CD)
    for start in range(0, len(rows_ID), BLOCK):
        unit_BD = unit_rows(torch.from_numpy(rows_ID[start : start + BLOCK]))
        nearest_B = (unit_BD @ centre_CD.T).argmax(dim=1)
        sum_CD.index_add_(0, nearest_B, unit_BD)
        label[start : start + BLOCK] = torch.where(unit_BD.any(dim=1), nearest_B, NO_CONTENT).numpy()
    return label, sum_CD
