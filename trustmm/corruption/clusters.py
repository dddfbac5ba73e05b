"""Groups of items with similar content: k-means by cosine, in row blocks, without a copy of the features.

Which items share a cluster decides what is damaged, so that all sums are exact (see `exact`): every machine finds the
same groups.
"""

import numpy as np
from numpy.typing import NDArray

from trustmm.exact import UNIT_BITS, FloatArray, product, unit_rows_on_grid, weighted
from trustmm.graph.edges import IntArray

# Shapes: I items, D columns, C clusters, B rows of a block, S rows of the sample that gives the first centres.
ROUNDS = 10
BLOCK = 1024
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
    centre_CD = first_centres(unit_rows_on_grid(rows_ID[sample]), count, rng)
    for _ in range(ROUNDS):
        _, sum_CD = _assign(rows_ID, centre_CD)
        centre_CD = np.where(sum_CD.any(axis=1, keepdims=True), unit_rows_on_grid(sum_CD), centre_CD)
    label, _ = _assign(rows_ID, centre_CD)
    return label


def first_centres(unit_SD: FloatArray, count: int, rng: np.random.Generator) -> FloatArray:
    """At most `count` different rows, each drawn by its squared distance to those before it.

    Source: k-means++, Arthur & Vassilvitskii, SODA 2007. For rows of length 1 the distance is 2 (1 - cosine).
    """
    chosen = [int(rng.integers(len(unit_SD)))]
    distance = np.full(len(unit_SD), np.inf)
    for _ in range(min(count, len(unit_SD)) - 1):
        cosine = product(unit_SD, unit_SD[chosen[-1]])
        distance = np.minimum(distance, np.maximum(1 - cosine, 0))
        distance[chosen[-1]] = 0
        if not distance.any():
            break
        chosen.append(int(weighted(rng, (distance * 4.0**UNIT_BITS).astype(np.int64), 1)[0]))
    return unit_SD[chosen]


def _assign(rows_ID: NDArray[np.float32], centre_CD: FloatArray) -> tuple[IntArray, FloatArray]:
    """The nearest centre of each row, and the sum of each centre's rows of length 1."""
    label = np.empty(len(rows_ID), dtype=np.int64)
    sum_CD = np.zeros_like(centre_CD)
    for start in range(0, len(rows_ID), BLOCK):
        unit_BD = unit_rows_on_grid(rows_ID[start : start + BLOCK])
        nearest_B = product(unit_BD, centre_CD.T).argmax(axis=1)
        sum_CD += product((nearest_B == np.arange(len(centre_CD))[:, None]).astype(np.float64), unit_BD)
        label[start : start + BLOCK] = np.where(unit_BD.any(axis=1), nearest_B, NO_CONTENT)
    return label, sum_CD
