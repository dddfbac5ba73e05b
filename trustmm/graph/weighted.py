"""User-item pairs with weights, and links among users and among items."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trustmm.graph.edges import Edges, IntArray


@dataclass(frozen=True, eq=False)
class WeightedEdges(Edges):
    """Pairs whose messages have weights, beside messages that users send to users and items to items.

    `bipartite_operator` knows the weights and the links. Whatever else is built from edges sees the pairs alone.

    Shapes: weights (E,) float32, in order of the pairs; links: rows, columns (P,) int64 and weights (P,) float32 over
    the U + I nodes, users first, each link in both directions.
    """

    weights: NDArray[np.float32]
    links: tuple[IntArray, IntArray, NDArray[np.float32]]

    def subset(self, chosen: IntArray) -> "WeightedEdges":
        """The pairs at these places, which ascend, with their weights; all links."""
        pairs = self.users[chosen], self.items[chosen], self.num_users, self.num_items
        return WeightedEdges(*pairs, self.weights[chosen], self.links)

    def messages(self) -> tuple[IntArray, IntArray, NDArray[np.float32]]:
        """Rows, columns and weights (2 E + P,) over the nodes."""
        rows, columns, _ = super().messages()
        more_rows, more_columns, more = self.links
        rows, columns = np.concatenate([rows, more_rows]), np.concatenate([columns, more_columns])
        return rows, columns, np.concatenate([self.weights, self.weights, more])
