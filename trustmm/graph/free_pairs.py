"""Pairs of users and items that nobody observed, drawn without a table of all pairs."""

import numpy as np

from trustmm.graph.edges import Edges, IntArray

DRAW = 1 << 16
"""Candidate pairs per draw; fixed, so that a longer list of added pairs starts like a shorter one."""
ENUMERATE = 1 << 20
"""Up to this many possible pairs the free ones are listed and shuffled, which also works when few are free."""


def num_free(observed: Edges) -> int:
    """Pairs outside `observed`."""
    return observed.num_users * observed.num_items - len(observed)


def free_pairs(observed: Edges, count: int, rng: np.random.Generator) -> Edges:
    """`count` distinct pairs outside `observed`, uniform; more pairs from an equal stream contain fewer.

    There must be so many, see `num_free`.
    """
    assert count <= num_free(observed), (count, num_free(observed))
    possible = observed.num_users * observed.num_items
    draw = _shuffled_free_keys if possible <= ENUMERATE else _drawn_free_keys
    return Edges.from_keys(np.sort(draw(observed, count, rng)), observed.num_users, observed.num_items)


def _shuffled_free_keys(observed: Edges, count: int, rng: np.random.Generator) -> IntArray:
    free = np.setdiff1d(np.arange(observed.num_users * observed.num_items), observed.keys, assume_unique=True)
    return rng.permutation(free)[:count]


def _drawn_free_keys(observed: Edges, count: int, rng: np.random.Generator) -> IntArray:
    keys = np.empty(0, dtype=np.int64)
    while len(keys) < count:
        drawn = rng.integers(0, observed.num_users * observed.num_items, size=DRAW)
        keys = np.concatenate([keys, drawn[~observed.contains(drawn)]])
        _, first = np.unique(keys, return_index=True)
        keys = keys[np.sort(first)]
    return keys[:count]
