"""Training triples of one epoch, drawn at once: a shuffle of the positives and one exact uniform negative each."""

import numpy as np
from numpy.typing import NDArray

from trustmm.graph.edges import Edges, IntArray


class TripleSampler:
    """Draws (user, positive, negative) triples of a supervision set.

    A negative is uniform over the items that its user has no supervision edge with, without rejection: with the
    user's positives p_0 < p_1 < ..., the r-th other item is r + #{k: p_k - k <= r}, one binary search for all.

    Args:
        edges: the positives.
        negatives: draw a negative for each.

    Raises: ValueError if there are no edges, or a negative is wanted for a user who is paired with every item.
    """

    def __init__(self, edges: Edges, *, negatives: bool = True) -> None:
        if not len(edges):
            raise ValueError("training needs at least one edge, got none")
        self.edges, self.with_negatives = edges, negatives
        self.num_others = edges.num_items - edges.user_degree[edges.users]
        if negatives and self.num_others.min() < 1:
            user = int(edges.users[self.num_others.argmin()])
            raise ValueError(f"user {user} has edges to all {edges.num_items} items, so no negative can be drawn")
        place = np.arange(len(edges)) - edges.user_offsets[edges.users]
        self.stride = edges.num_items + 1
        self.gaps = edges.users * self.stride + edges.items - place

    def epoch(self, rng: np.random.Generator) -> NDArray[np.int64]:
        """Triples of one epoch in random order, (3, E): every edge once, each with a fresh negative.

        Without negatives the third row is missing, (2, E).
        """
        order = rng.permutation(len(self.edges))
        users, positives = self.edges.users[order], self.edges.items[order]
        if not self.with_negatives:
            return np.stack([users, positives])
        return np.stack([users, positives, self.negatives(users, self.num_others[order], rng)])

    def negatives(self, users: IntArray, num_others: IntArray, rng: np.random.Generator) -> IntArray:
        """One uniform non-positive item for each of the users, shape of `users`."""
        nth = rng.integers(0, num_others)
        before = np.searchsorted(self.gaps, users * self.stride + nth, side="right")
        return nth + before - self.edges.user_offsets[users]
