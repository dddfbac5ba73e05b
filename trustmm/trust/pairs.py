"""Which items judge which: folds, halves, and the shuffled pairs that are the null."""

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trustmm.graph.edges import Edges, IntArray

# Shapes: n judged items, S shuffles.
FOLDS = 5
SHUFFLES = 4
LEAST_ITEMS = 2 * FOLDS * (SHUFFLES + 1)
"""Below so many items no group has enough strangers, and nothing is judged."""


@dataclass(frozen=True, eq=False)
class Pairs:
    """Observed pairs (item, its own feature) and shuffled ones (item, a stranger's feature) of the judged items.

    Strangers share fold and half with the item, so that models fitted elsewhere saw neither of the two.
    """

    items: IntArray
    """Ids of the judged items, (n,)."""
    fold: IntArray
    """Of projections, predictions and neighbours, (n,), below `FOLDS`."""
    half: IntArray
    """Of the classifier, (n,), 0 or 1."""
    stranger: IntArray
    """Place of the item whose feature is shown instead, (S, n), never the own."""


def make_pairs(edges: Edges, rng: np.random.Generator) -> Pairs:
    """Draw folds and strangers of the items that have training edges.

    The draw belongs to who interacted with an item, not to its number: relabelling the items relabels the pairs.

    Args:
        edges: training edges, at least `LEAST_ITEMS` items with one.
        rng: stream of the draw.
    """
    items = _by_audience(edges)
    group = rng.permutation(len(items)) % (2 * FOLDS)
    order = np.lexsort((rng.random(len(items)), group))
    size = np.bincount(group, minlength=2 * FOLDS)
    start = np.repeat(np.cumsum(size) - size, size)
    place = np.arange(len(items)) - start
    stranger = np.empty((SHUFFLES, len(items)), dtype=np.int64)
    for shift in range(SHUFFLES):
        stranger[shift, order] = order[start + (place + shift + 1) % np.repeat(size, size)]
    return Pairs(items, group % FOLDS, group // FOLDS, stranger)


def _by_audience(edges: Edges) -> IntArray:
    """Items with edges in an order that does not depend on their numbers, but for items of the same users."""
    by_item = np.lexsort((edges.users, edges.items))
    ends = np.cumsum(edges.item_degree)
    warm = np.flatnonzero(edges.item_degree)
    users = edges.users[by_item]
    keys = [
        hashlib.blake2b(users[ends[i] - edges.item_degree[i] : ends[i]].tobytes(), digest_size=16).digest()
        for i in warm
    ]
    return warm[sorted(range(len(warm)), key=keys.__getitem__)]


def shown(pairs: Pairs, query_NK: NDArray[np.floating], target_NK: NDArray[np.floating]) -> NDArray[np.float64]:
    """Inner products of every item with its own feature and with its strangers', (S + 1, n), the observed first."""
    own = np.einsum("nk,nk->n", query_NK, target_NK)
    return np.stack([own, *(np.einsum("nk,nk->n", query_NK, target_NK[other]) for other in pairs.stranger)])
