"""A cheap collaborative prior: short random walks in the leading part of the spectrum, in seconds, not minutes."""

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from trustmm.graph.bipartite import pair_weights
from trustmm.graph.edges import Edges
from trustmm.prior.lightgcn import Prior

# Shapes: U users, I items, K kept triples and some more.
RANK = 16
"""Kept triples."""
MORE = 8
"""Further directions that the iteration carries along, so that the last kept triples are found, too."""
ROUNDS = 4
"""Of the power iteration."""
STEPS = 5
"""Of the walk, odd: from users to items."""


def spectral_prior(edges: Edges) -> Prior:
    r"""Embeddings whose inner products rank items as a random walk of `STEPS` steps from the user would reach them.

    .. math::  \hat R = D_u^{-1/2} R D_i^{-1/2} \approx P \Sigma Q^\top, \qquad
        E_u = P \Sigma^{5}, \quad E_i = D_i^{1/2} Q

    D_u^-1/2 E_u E_i^T are the walk's probabilities, but for the triples beyond the `RANK` leading ones: long walks
    forget these. A randomised subspace iteration (Halko, Martinsson, Tropp, SIAM Review 2011) from a fixed start;
    neither U x I nor a square matrix of users or items is ever dense. Without edges rows are zero.

    Args:
        edges: the graph; R has their weights.
    """
    matrix, item_sum = normalised(edges)
    width = min(RANK + MORE, *matrix.shape)
    block_IK = np.random.default_rng(0).standard_normal((matrix.shape[1], width), dtype=np.float32)
    for _ in range(ROUNDS):
        block_UK, _ = np.linalg.qr(matrix @ block_IK)
        block_IK, _ = np.linalg.qr(matrix.T @ block_UK)
    product_UK = matrix @ block_IK
    square_K, right_KK = np.linalg.eigh(product_UK.T @ product_UK)
    kept = np.flatnonzero(square_K > square_K[-1] * np.finfo(np.float32).eps)[::-1][:RANK]
    value_K = np.sqrt(square_K[kept])
    left_UK = product_UK @ (right_KK[:, kept] / value_K)
    root_I1 = np.sqrt(item_sum).astype(np.float32)[:, None]
    return Prior(left_UK * value_K**STEPS, root_I1 * (matrix.T @ (left_UK / value_K)))


def normalised(edges: Edges) -> tuple[scipy.sparse.csr_array, NDArray[np.float64]]:
    """R^, (U, I), float32, and the sum of weights of each item, (I,)."""
    weights = pair_weights(edges).astype(np.float64)
    user_sum, item_sum = (
        np.bincount(nodes, weights=weights, minlength=count)
        for nodes, count in ((edges.users, edges.num_users), (edges.items, edges.num_items))
    )
    scale: NDArray[np.float64] = np.sqrt(user_sum[edges.users] * item_sum[edges.items])
    values = np.divide(weights, scale, out=np.zeros_like(scale), where=scale > 0).astype(np.float32)
    shape = edges.num_users, edges.num_items
    matrix = scipy.sparse.csr_array((values, (edges.users, edges.items)), shape=shape)
    return matrix, item_sum.astype(np.float64)
