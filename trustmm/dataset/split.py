"""Labels 0 (train), 1 (valid) and 2 (test): 8:1:1 at random within each user."""

import numpy as np

from trustmm.graph.edges import IntArray
from trustmm.seeding import stream

LEAST = 3
"""Pairs from which a user has held-out ones."""


def held_out_counts(pairs_of_user: IntArray) -> tuple[IntArray, IntArray]:
    """Validation and test pairs of users with n pairs each, shape as given.

    Validation gets n/10 rounded down, test n/10 with halves rounded up, each at least one; users with fewer than three
    pairs have none. The published splits of Baby and Sports follow this rule.
    """
    some = pairs_of_user >= LEAST
    valid = np.where(some, np.maximum(1, pairs_of_user // 10), 0)
    test = np.where(some, np.maximum(1, (pairs_of_user + 5) // 10), 0)
    return valid, test


def split_within_users(users: IntArray, seed: int) -> IntArray:
    """Labels (E,) drawn within each user.

    Args:
        users: of the pairs, sorted by user, then item, so that equal data give equal splits, (E,).
        seed: of the draw.
    """
    draw = stream(seed, "dataset", "split").random(len(users))
    order = np.lexsort((draw, users))
    degree = np.bincount(users)
    place = np.arange(len(users)) - np.repeat(np.cumsum(degree) - degree, degree)
    valid, test = (np.repeat(counts, degree) for counts in held_out_counts(degree))
    labels = np.empty(len(users), dtype=np.int64)
    labels[order] = np.where(place < test, 2, np.where(place < test + valid, 1, 0))
    return labels
