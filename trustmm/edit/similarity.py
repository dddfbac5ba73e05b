"""Similarity of user-item pairs under the collaborative prior (the paper, Eq. 15)."""

import numpy as np
from numpy.typing import NDArray

from trustmm.graph.edges import Edges
from trustmm.prior.lightgcn import Prior

BLOCK = 1 << 18
"""Pairs gathered at a time (128 MiB for each side at width 64)."""


def similarity(prior: Prior, edges: Edges) -> NDArray[np.float64]:
    """s_ui = <e_u, e_i> of each pair, (E,), in order of the pairs.

    Float64: products of float32 are exact in it, so equal pairs of rows tie whatever the block they fall in.
    """
    result = np.empty(len(edges))
    for start in range(0, len(edges), BLOCK):
        part = slice(start, start + BLOCK)
        user_BD = prior.user_UD[edges.users[part]].astype(np.float64)
        item_BD = prior.item_ID[edges.items[part]].astype(np.float64)
        result[part] = np.einsum("bd,bd->b", user_BD, item_BD)
    return result
