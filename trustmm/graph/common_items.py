"""Who has most in common: the largest entries of R R^T by blocks of rows, never a users x users matrix in memory."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from trustmm.graph.edges import IntArray

BLOCK_ENTRIES = 1 << 24
"""Entries of the product held at a time, at most (but one row at least): 192 MiB with their columns."""


def most_in_common(
    *, left: IntArray, right: IntArray, size: tuple[int, int], k: int, least: int
) -> dict[str, NDArray[np.int64]]:
    """For each node on the left its k partners there with the most common neighbours on the right.

    Args:
        left: (E,) one end of every pair; with users on the left, partners are users and they share items.
        right: (E,) the other end.
        size: nodes on the left and on the right, L and R.
        k: partners of a node, at most.
        least: common neighbours that make a partner, at least 1.

    Returns: `offsets` (L + 1,), where each node's partners start in `partner` and `count` (P,), the largest count
        first, equal ones by the smaller index. A node is no partner of its own.
    """
    ones = np.ones(len(left), dtype=np.int32)
    matrix = scipy.sparse.csr_array((ones, (left, right)), shape=size)
    lengths, partners, counts = [np.zeros(1, dtype=np.int64)], [], []
    for start, stop in _blocks(matrix):
        rows, columns, common = _products(matrix, start, stop, least)
        rows, columns, common = _by_count(rows, columns, common, size[0])
        of_row = np.bincount(rows, minlength=stop - start)
        place = np.arange(len(rows)) - np.repeat(np.cumsum(of_row) - of_row, of_row)
        lengths.append(np.minimum(of_row, k))
        partners.append(columns[place < k])
        counts.append(common[place < k])
    return {
        "offsets": np.cumsum(np.concatenate(lengths)),
        "partner": np.concatenate(partners),
        "count": np.concatenate(counts),
    }


def most_alike(
    *, left: IntArray, right: IntArray, size: tuple[int, int], k: int, shrink: float
) -> dict[str, NDArray[Any]]:
    """For each node on the left the k there, itself included, with the largest cosine of their neighbours on the right.

    With c common neighbours of i and j, and d_i and d_j neighbours of each, that is c / (sqrt(d_i d_j) + shrink).

    Args:
        left: (E,) one end of every pair.
        right: (E,) the other end.
        size: nodes on the left and on the right, L and R.
        k: partners of a node, at most.
        shrink: at least 0; large values favour nodes with many neighbours.

    Returns: `node`, `partner` and `cosine` (P,), in order of nodes, then the largest first, equal ones by the smaller
        index.
    """
    ones = np.ones(len(left), dtype=np.int32)
    matrix = scipy.sparse.csr_array((ones, (left, right)), shape=size)
    degree = np.bincount(left, minlength=size[0])
    nodes, partners, cosines = [], [], []
    for start, stop in _blocks(matrix):
        rows, columns, common = _products(matrix, start, stop, 1, itself=True)
        cosine = common / (np.sqrt(degree[rows + start] * degree[columns]) + shrink)
        order = np.lexsort((columns, -cosine, rows))
        of_row = np.bincount(rows, minlength=stop - start)
        kept = order[np.arange(len(rows)) - np.repeat(np.cumsum(of_row) - of_row, of_row) < k]
        nodes.append(rows[kept] + start)
        partners.append(columns[kept])
        cosines.append(cosine[kept].astype(np.float32))
    return {
        "node": np.concatenate(nodes),
        "partner": np.concatenate(partners),
        "cosine": np.concatenate(cosines),
    }


def _blocks(matrix: scipy.sparse.csr_array) -> Iterator[tuple[int, int]]:
    """Ranges of rows whose products have few enough entries."""
    bound = np.cumsum(matrix @ np.bincount(matrix.indices, minlength=matrix.shape[1]))
    start, done = 0, 0
    while start < matrix.shape[0]:
        stop = max(start + 1, int(np.searchsorted(bound, done + BLOCK_ENTRIES, side="right")))
        yield start, stop
        start, done = stop, bound[stop - 1]


def _products(
    matrix: scipy.sparse.csr_array, start: int, stop: int, least: int, *, itself: bool = False
) -> tuple[IntArray, IntArray, IntArray]:
    product = (matrix[start:stop] @ matrix.T).tocoo()
    rows, columns, common = (array.astype(np.int64) for array in (*product.coords, product.data))
    kept = (common >= least) & (itself | (columns != rows + start))
    return rows[kept], columns[kept], common[kept]


def _by_count(rows: IntArray, columns: IntArray, common: IntArray, width: int) -> tuple[IntArray, IntArray, IntArray]:
    """The entries in order of rows, then counts (the largest first), then columns."""
    steps = int(common.max(initial=0)) + 1
    keys = np.sort((rows * steps + steps - common) * width + columns)  # many times faster than sorting by three keys
    head, columns = np.divmod(keys, width)
    rows, below = np.divmod(head, steps)
    return rows, columns, steps - below
