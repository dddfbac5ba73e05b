"""Pairs of users and items that nobody observed, drawn without a table of all pairs."""

import numpy as np

from trustmm.exact import exponential, weighted
from trustmm.graph.edges import Edges, IntArray

DRAW = 1 << 16
"""Candidate pairs per draw; fixed, so that a longer list of added pairs starts like a shorter one."""
ENUMERATE = 1 << 20
"""Up to this many possible pairs the free ones are listed and shuffled, which also works when few are free."""


def num_free(observed: Edges) -> int:
    """Pairs outside `observed`."""
    return observed.num_users * observed.num_items - len(observed)


def free_pairs(observed: Edges, count: int, rng: np.random.Generator, *, item_weight: IntArray | None = None) -> Edges:
    """`count` distinct pairs outside `observed`; more pairs from an equal stream contain fewer.

    Args:
        observed: no pair of these is drawn.
        count: at most `num_free`.
        rng: stream of the draw.
        item_weight: whole positive numbers, (I,): pairs are drawn one after the other in proportion to their item's.
            None draws uniformly.
    """
    assert count <= num_free(observed), (count, num_free(observed))
    possible = observed.num_users * observed.num_items
    draw = _shuffled_free_keys if possible <= ENUMERATE else _drawn_free_keys
    return Edges.from_keys(np.sort(draw(observed, count, rng, item_weight)), observed.num_users, observed.num_items)


def _shuffled_free_keys(
    observed: Edges, count: int, rng: np.random.Generator, item_weight: IntArray | None
) -> IntArray:
    free = np.setdiff1d(np.arange(observed.num_users * observed.num_items), observed.keys, assume_unique=True)
    if item_weight is None:
        return rng.permutation(free)[:count]
    # Exponential arrivals with these rates come in the order of draws without replacement in proportion to them.
    return free[np.argsort(exponential(rng, len(free)) / item_weight[free % observed.num_items], kind="stable")][:count]


def _drawn_free_keys(observed: Edges, count: int, rng: np.random.Generator, item_weight: IntArray | None) -> IntArray:
    keys = np.empty(0, dtype=np.int64)
    while len(keys) < count:
        if item_weight is None:
            drawn = rng.integers(0, observed.num_users * observed.num_items, size=DRAW)
        else:
            users = rng.integers(0, observed.num_users, size=DRAW)
            drawn = users * observed.num_items + weighted(rng, item_weight, DRAW)
        keys = np.concatenate([keys, drawn[~observed.contains(drawn)]])
        _, first = np.unique(keys, return_index=True)
        keys = keys[np.sort(first)]
    return keys[:count]
