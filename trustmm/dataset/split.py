"""Labels 0 (train), 1 (valid) and 2 (test): 8:1:1 at random within each user."""

from collections.abc import Sequence

import numpy as np

from trustmm.graph.edges import Edges, IntArray
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


def split_anew(parts: Sequence[Edges], seed: int) -> tuple[Edges, Edges, Edges]:
    """The pairs of train, validation and test, dealt out anew by `split_within_users`.

    Raises: ValueError if no user has enough pairs for a held-out one.
    """
    num_users, num_items = parts[0].num_users, parts[0].num_items
    pairs = Edges.from_keys(np.sort(np.concatenate([part.keys for part in parts])), num_users, num_items)
    label_E = split_within_users(pairs.users, seed)
    if not label_E.any():
        raise ValueError(f"dataset.split_seed={seed}: no user has {LEAST} pairs, of which two could be held out")
    train, valid, test = (Edges.from_keys(pairs.keys[label_E == label], num_users, num_items) for label in range(3))
    return train, valid, test
