"""The user-item graph as an operator on all nodes: users first, then items."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trustmm.exact import decimal, exact_share
from trustmm.graph.edges import Edges
from trustmm.graph.sparse import SparseMatrix, symmetric_normalise


def bipartite_operator(edges: Edges) -> SparseMatrix:
    """S = D^-1/2 A D^-1/2 over the N = U + I nodes, without self loops; a node without edges has an empty row.

    A is 1 at the pairs, or what the edges say otherwise (`WeightedEdges`).
    """
    num_nodes = edges.num_users + edges.num_items
    rows, columns, weights = (torch.from_numpy(array) for array in edges.messages())
    values = symmetric_normalise(rows, columns, weights, num_nodes)
    return SparseMatrix(rows, columns, values, (num_nodes, num_nodes), symmetric=True)


def row_mean_operator(edges: Edges) -> SparseMatrix:
    """S' = D^-1 (A + 1) over the N = U + I nodes: the mean of a node and its neighbours. Every row sums to 1.

    A is 1 at the pairs, or their weight.
    """
    num_nodes = edges.num_users + edges.num_items
    users, items = torch.from_numpy(edges.users), torch.from_numpy(edges.items + edges.num_users)
    nodes, weight = torch.arange(num_nodes), torch.from_numpy(pair_weights(edges))
    rows, columns = torch.cat([users, items, nodes]), torch.cat([items, users, nodes])
    return _mean(rows, columns, torch.cat([weight, weight, torch.ones(num_nodes)]), num_nodes)


def neighbour_mean_operator(edges: Edges) -> SparseMatrix:
    """D^-1 A over the N = U + I nodes: the (weighted) mean of a node's neighbours, 0 for a node without any."""
    num_nodes = edges.num_users + edges.num_items
    users, items = torch.from_numpy(edges.users), torch.from_numpy(edges.items + edges.num_users)
    rows, columns = torch.cat([users, items]), torch.cat([items, users])
    return _mean(rows, columns, torch.from_numpy(pair_weights(edges)).repeat(2), num_nodes)


def _mean(rows: Tensor, columns: Tensor, weight: Tensor, num_nodes: int) -> SparseMatrix:
    total = torch.bincount(rows, weights=weight, minlength=num_nodes).float()
    return SparseMatrix(rows, columns, weight * total.reciprocal()[rows], (num_nodes, num_nodes))


def pair_weights(edges: Edges) -> NDArray[np.float32]:
    """Of the messages of every pair, (E,)."""
    return edges.messages()[2][: len(edges)]


def incidence(edges: Edges) -> SparseMatrix:
    """R, (U, I): 1 for every pair. Its products are sums over the items of a user."""
    users, items = torch.from_numpy(edges.users), torch.from_numpy(edges.items)
    return SparseMatrix(users, items, torch.ones(len(users)), (edges.num_users, edges.num_items))


def user_item_operator(edges: Edges) -> SparseMatrix:
    """R^ = D_u^-1/2 R D_i^-1/2, (U, I): the block of S that carries messages from items to users."""
    weight = pair_weights(edges)
    user_sum, item_sum = (
        np.bincount(nodes, weights=weight, minlength=count)[nodes]
        for nodes, count in ((edges.users, edges.num_users), (edges.items, edges.num_items))
    )
    values = torch.from_numpy(weight) * torch.from_numpy(user_sum * item_sum).float().rsqrt()
    users, items = torch.from_numpy(edges.users), torch.from_numpy(edges.items)
    return SparseMatrix(users, items, values, (edges.num_users, edges.num_items))


def layer_mean(operator: SparseMatrix, nodes_ND: Tensor, num_layers: int) -> Tensor:
    """LightGCN's mean over layers 0..L of S^l E (He et al., SIGIR 2020, Eq. 8), shape (N, D), differentiable."""
    layer_ND = total_ND = nodes_ND
    for _ in range(num_layers):
        layer_ND = operator @ layer_ND
        total_ND = total_ND + layer_ND
    return total_ND / (num_layers + 1)


def pair_rates(edges: Edges) -> NDArray[np.float64]:
    """(deg_u deg_i)^-1/2 of every pair, (E,)."""
    return 1 / np.sqrt(edges.user_degree[edges.users] * edges.item_degree[edges.items])


def sample_edges(edges: Edges, *, drop_fraction: float, rng: np.random.Generator, by_degree: bool = True) -> Edges:
    """Keep floor((1 - drop) E) edges, drawn without replacement with weight (deg_u deg_i)^-1/2 (FREEDOM, Eq. 8).

    The smallest of exponential arrival times with these rates is a draw without replacement in proportion to them.
    Not `by_degree`, all edges are equally likely.
    """
    keep = exact_share(1 - decimal(drop_fraction), len(edges))
    arrival = rng.standard_exponential(len(edges))
    if by_degree:
        arrival /= pair_rates(edges)
    kept = np.sort(np.argpartition(arrival, keep - 1)[:keep]) if keep else np.empty(0, dtype=np.int64)
    return edges.subset(kept)
