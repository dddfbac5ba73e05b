"""A user-item graph that training sees in part: some edges are left out, anew each epoch."""

import numpy as np
from torch import nn

from trustmm.graph.bipartite import bipartite_operator, sample_edges
from trustmm.graph.edges import Edges


class PrunedGraph(nn.Module):
    """The normalised operator of all edges, and that of the edges which the epoch keeps.

    Args:
        edges: all of them.
        drop_fraction: share that an epoch leaves out, 0 keeps all.
    """

    def __init__(self, edges: Edges, *, drop_fraction: float) -> None:
        super().__init__()
        self.edges, self.drop_fraction = edges, drop_fraction
        self.all = self.kept = bipartite_operator(edges)

    def begin_epoch(self, rng: np.random.Generator, *, by_degree: bool = True) -> None:
        """Draw the edges to keep, see `sample_edges`."""
        if self.drop_fraction:
            self.keep(sample_edges(self.edges, drop_fraction=self.drop_fraction, rng=rng, by_degree=by_degree))

    def keep(self, edges: Edges) -> None:
        """Train over these edges, normalised with their own degrees."""
        self.kept = bipartite_operator(edges).to(self.all.values)
