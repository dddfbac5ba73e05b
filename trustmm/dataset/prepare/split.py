"""Labels 0 (train), 1 (valid) and 2 (test): 8:1:1 at random within each user, or by one date for all."""

import numpy as np
from numpy.typing import NDArray

from trustmm.dataset.prepare.interactions import Interactions
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


def random_split(pairs: Interactions, seed: int) -> IntArray:
    """Labels (E,) drawn within each user.

    Args:
        pairs: sorted by user, then item, so that equal data give equal splits.
        seed: of the draw.
    """
    draw = stream(seed, "dataset", "split").random(len(pairs))
    order = np.lexsort((draw, pairs.users))
    degree = np.bincount(pairs.users)
    place = np.arange(len(pairs)) - np.repeat(np.cumsum(degree) - degree, degree)
    valid, test = (np.repeat(counts, degree) for counts in held_out_counts(degree))
    labels = np.empty(len(pairs), dtype=np.int64)
    labels[order] = np.where(place < test, 2, np.where(place < test + valid, 1, 0))
    return labels


def time_split(times: NDArray[np.float64]) -> tuple[IntArray, tuple[float, float]]:
    """Labels (E,) by one date for all users, and the last times of train and validation.

    Train are the pairs up to the time of the pair at 80 %, validation those up to 90 %, test the later ones; pairs of
    the same time stay together, so the shares are as near as ties permit.

    Raises: ValueError if a part stays empty.
    """
    ordered = np.sort(times)
    last_train, last_valid = (float(ordered[max(0, len(times) * tenths // 10 - 1)]) for tenths in (8, 9))
    labels = np.where(times <= last_train, 0, np.where(times <= last_valid, 1, 2))
    counts = np.bincount(labels, minlength=3)
    if not counts.all():
        raise ValueError(
            f"--split time: {len(times)} pairs at {len(np.unique(times))} different times give {counts[0]} train, "
            f"{counts[1]} valid, {counts[2]} test pairs; expected some in each, use --split random"
        )
    return labels, (last_train, last_valid)
