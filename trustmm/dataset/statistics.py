"""Numbers that describe a data set: Table 1, degrees, the health of features. Pure functions."""

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trustmm.graph.edges import Edges, IntArray

QUANTILES = (0.0, 0.25, 0.5, 0.75, 0.9, 0.99, 1.0)
BLOCK = 2**22
"""Numbers looked at together."""


@dataclass(frozen=True)
class Sizes:
    """The columns of the paper's Table 1, and the splits."""

    users: int
    items: int
    interactions: int
    train: int
    valid: int
    test: int
    cold_items: int
    """Items without training pairs."""

    @property
    def sparsity(self) -> float:
        """Share of all user-item pairs that were not observed."""
        return 1 - self.interactions / (self.users * self.items)


def sizes(train: Edges, valid: Edges, test: Edges) -> Sizes:
    """Sizes of a data set from its three splits."""
    parts = (len(train), len(valid), len(test))
    return Sizes(train.num_users, train.num_items, sum(parts), *parts, int((train.item_degree == 0).sum()))


def degree_quantiles(degree: IntArray) -> dict[str, float]:
    """Least, quartiles, 90 and 99 %, most and mean number of pairs, from the degrees of users or items (N,)."""
    found = {f"{quantile:.0%}": float(np.quantile(degree, quantile)) for quantile in QUANTILES}
    return found | {"mean": float(degree.mean())}


@dataclass(frozen=True)
class Health:
    """What is worth knowing about a feature matrix before a model is trained on it."""

    rows: int
    width: int
    dtype: str
    not_finite_rows: int
    zero_rows: int
    duplicate_rows: int
    """Rows that some row before them equals bit by bit, zero rows left out."""
    constant_columns: int
    norms: NDArray[np.float64]
    """l2 norms of the finite rows."""


def health(matrix_ID: NDArray[np.floating]) -> Health:
    """Look at a matrix (I, D) of any float type, in row blocks.

    Norms are of float64 values, so that a large float64 row counts as finite.
    """
    norms, zero, duplicates, seen = [], 0, 0, set()
    low, high = np.full(matrix_ID.shape[1], np.inf), np.full(matrix_ID.shape[1], -np.inf)
    bad = 0
    rows = max(1, BLOCK // matrix_ID.shape[1])
    for start in range(0, len(matrix_ID), rows):
        block = np.ascontiguousarray(matrix_ID[start : start + rows])
        finite = np.isfinite(block).all(axis=1)
        bad += int((~finite).sum())
        block = block[finite]
        norm = np.linalg.norm(block.astype(np.float64), axis=1)
        norms.append(norm)
        zero += int((norm == 0).sum())
        low, high = (
            np.minimum(low, block.min(axis=0, initial=np.inf)),
            np.maximum(high, block.max(axis=0, initial=-np.inf)),
        )
        for row in block[norm > 0]:
            key = hashlib.blake2b(row.tobytes(), digest_size=16).digest()
            duplicates += key in seen
            seen.add(key)
    constant = int((low == high).sum())
    rows, width = matrix_ID.shape
    return Health(rows, width, str(matrix_ID.dtype), bad, zero, duplicates, constant, np.concatenate([[], *norms]))
