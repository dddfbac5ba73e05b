"""Labels 0 (train), 1 (valid) and 2 (test) 8:1:1 at random within each user, or by one date for all."""

import numpy as np
from numpy.typing import NDArray

from trustmm.dataset.prepare.interactions import Interactions
from trustmm.dataset.split import split_within_users
from trustmm.graph.edges import IntArray


def random_split(pairs: Interactions, seed: int) -> IntArray:
    """Labels (E,) of pairs sorted by user, then item; see `split_within_users`."""
    return split_within_users(pairs.users, seed)


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
