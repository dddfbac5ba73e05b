"""Ranking metrics per user, from the ranks of the held-out items."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from trustmm.graph.edges import Edges, IntArray

PerUser = Mapping[str, NDArray[np.float64]]
NAMES = ("recall", "ndcg", "precision", "map", "hit")


class Metric(Protocol):
    """A metric of a list of k items, for each user."""

    def __call__(self, held_out: Edges, ranks: IntArray, k: int) -> NDArray[np.float64]:
        """One value per user with held-out items, (V,), in order of user id.

        Args:
            held_out: the pairs that were ranked.
            ranks: rank from 0 of each pair, (E,); from the largest cutoff on they are only known to be so large.
            k: length of the list.
        """


def per_user_metrics(
    held_out: Edges,
    ranks: IntArray,
    cutoffs: Sequence[int],
    more: Mapping[str, Metric] = MappingProxyType({}),
) -> dict[str, NDArray[np.float64]]:
    """Recall, NDCG, precision, MAP and hit rate of every user with held-out items, at each cutoff.

    With n held-out items of a user: recall = hits / n; precision = hits / k; NDCG is binary, over the ideal of
    min(n, k) items; MAP sums the precision at the hits over min(n, k); hit is 1 if there is any.

    Args:
        held_out: the pairs that were ranked.
        ranks: rank from 0 of each pair, (E,).
        cutoffs: list lengths k.
        more: further metrics by name.

    Returns: ``{"recall@10": (V,), ...}`` over the V users with held-out items, in order of user id.
    """
    result = {f"{name}@{k}": metric(held_out, ranks, k) for k in cutoffs for name, metric in more.items()}
    order = np.lexsort((ranks, held_out.users))
    ranks = ranks[order]
    users, counts = np.unique(held_out.users, return_counts=True)
    starts = np.concatenate([[0], np.cumsum(counts)])
    place = np.arange(len(ranks)) - np.repeat(starts[:-1], counts)

    def total(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.add.reduceat(values, starts[:-1]) if len(users) else np.empty(0)

    for k in cutoffs:
        hit = (ranks < k).astype(float)
        hits, reachable = total(hit), np.minimum(counts, k)
        ideal = np.cumsum(1 / np.log2(np.arange(2, k + 2)))[reachable - 1]
        values = (
            hits / counts,
            total(hit / np.log2(ranks + 2.0)) / ideal,
            hits / k,
            total(hit * (place + 1) / (ranks + 1)) / reachable,
            (hits > 0).astype(float),
        )
        result |= {f"{name}@{k}": value for name, value in zip(NAMES, values, strict=True)}
    return result


def mean_metrics(per_user: PerUser) -> dict[str, float]:
    """Mean over users of every metric."""
    return {name: float(values.mean()) for name, values in per_user.items()}
