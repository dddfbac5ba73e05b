"""Edge pruning: the training edges that the prior believes in least (the paper, Eq. 16)."""

import numpy as np

from trustmm.edit.similarity import similarity
from trustmm.graph.edges import Edges
from trustmm.prior.lightgcn import Prior


def weakest_edges(edges: Edges, prior: Prior, count: int) -> Edges:
    """The `count` edges with the smallest similarity; equal ones by user, then item.

    Args:
        edges: training edges.
        prior: embeddings of all users and items.
        count: from 0 to the number of edges.
    """
    order = np.argsort(similarity(prior, edges), kind="stable")[:count]
    return Edges.from_keys(edges.keys[np.sort(order)], edges.num_users, edges.num_items)
