"""The k-core: what is left when users and items with few pairs are removed until nothing changes."""

import numpy as np

from trustmm.dataset.prepare.interactions import Interactions


def k_core(pairs: Interactions, k: int) -> tuple[Interactions, int]:
    """The largest set of pairs in which every user and every item has at least `k`, and the rounds it took.

    Args:
        pairs: distinct pairs.
        k: least number of pairs; 0 and 1 keep everything.
    """
    rounds = 0
    while len(pairs):
        few_users, few_items = np.bincount(pairs.users) < k, np.bincount(pairs.items) < k
        kept = ~(few_users[pairs.users] | few_items[pairs.items])
        if kept.all():
            break
        pairs, rounds = pairs.keep(kept), rounds + 1
    return pairs, rounds
