"""The leading part of the user-item graph's spectrum as a sparse matrix, in row blocks: never U x I in memory."""

from typing import Any

import numpy as np
import scipy.sparse
import scipy.sparse.linalg
from numpy.typing import NDArray

from trustmm.graph.edges import IntArray

BLOCK_ENTRIES = 1 << 23
"""Entries of the dense product held at a time (64 MiB)."""
THRESHOLD = 1e-3
"""Smaller entries are dropped, in the paper's code."""


def principal_entries(*, users: IntArray, items: IntArray, size: tuple[int, int], rank: int) -> dict[str, NDArray[Any]]:
    """Entries of P diag(w) Q^T that are not small, with P, Q singular vectors of R^ = D_u^-1/2 R D_i^-1/2.

    S = [[0, R^], [R^T, 0]] has every singular value s of R^ twice; of its `rank` leading triples the first quarter is
    kept, each with its value times the one that stands as far into the last quarter (PGL, global). In terms of R^:
    rank / 2 triples, of which rank / 8 are kept. The start of the iteration is fixed, the signs of a pair of vectors
    cancel, so the answer is the same every time.

    Args:
        users: (E,) one end of every pair.
        items: (E,) the other.
        size: U and I, both larger than rank / 2.
        rank: a multiple of 8, so that no pair of equal singular values is cut.

    Returns: `users`, `items` (P,) and their `values` (P,), float64.
    """
    ones = np.ones(len(users))
    degree_U, degree_I = np.bincount(users, minlength=size[0]), np.bincount(items, minlength=size[1])
    matrix = scipy.sparse.csr_array((ones / np.sqrt(degree_U[users] * degree_I[items]), (users, items)), shape=size)
    start = np.random.default_rng(0).random(min(size))
    left_UK, value_K, right_KI = scipy.sparse.linalg.svds(matrix, k=rank // 2, v0=start)
    order = np.argsort(-value_K)
    value_K, kept = value_K[order], order[: rank // 8]
    weighed_UK = left_UK[:, kept] * (value_K[: len(kept)] * value_K[len(value_K) - len(kept) :])
    rows, columns, values = [], [], []
    block = max(1, BLOCK_ENTRIES // size[1])
    for first in range(0, size[0], block):
        product_BI = weighed_UK[first : first + block] @ right_KI[kept]
        row, column = np.nonzero(np.abs(product_BI) >= THRESHOLD)
        rows.append(row + first)
        columns.append(column)
        values.append(product_BI[row, column])
    return {"users": np.concatenate(rows), "items": np.concatenate(columns), "values": np.concatenate(values)}
