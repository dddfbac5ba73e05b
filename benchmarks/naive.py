"""Straight-line versions of the hot kernels: what a first draft does. Ratios against them come from one run."""

import numpy as np
import torch

from trustmm.graph.edges import Edges


def negatives_one_by_one(edges: Edges, rng: np.random.Generator) -> np.ndarray:
    """A negative per edge by rejection in a Python loop."""
    positives = [set() for _ in range(edges.num_users)]
    for user, item in zip(edges.users.tolist(), edges.items.tolist(), strict=True):
        positives[user].add(item)
    drawn = np.empty(len(edges), dtype=np.int64)
    for place, user in enumerate(edges.users.tolist()):
        item = int(rng.integers(edges.num_items))
        while item in positives[user]:
            item = int(rng.integers(edges.num_items))
        drawn[place] = item
    return drawn


def recall_user_by_user(users: torch.Tensor, items: torch.Tensor, train: Edges, held_out: Edges, k: int) -> float:
    """Recall@k with one sorted list per user."""
    recalls = []
    for user in np.unique(held_out.users):
        scores = items @ users[user]
        scores[train.items[train.user_offsets[user] : train.user_offsets[user + 1]]] = -torch.inf
        best = set(torch.argsort(scores, descending=True)[:k].tolist())
        wanted = held_out.items[held_out.user_offsets[user] : held_out.user_offsets[user + 1]].tolist()
        recalls.append(len(best.intersection(wanted)) / len(wanted))
    return float(np.mean(recalls))


def csr_operator(edges: Edges) -> torch.Tensor:
    """The normalised user-item operator as a torch CSR tensor."""
    count = edges.num_users + edges.num_items
    rows = np.concatenate([edges.users, edges.items + edges.num_users])
    columns = np.concatenate([edges.items + edges.num_users, edges.users])
    scale = 1 / np.sqrt(np.maximum(np.bincount(rows, minlength=count), 1))
    values = torch.from_numpy((scale[rows] * scale[columns]).astype(np.float32))
    index = torch.from_numpy(np.stack([rows, columns]))
    return torch.sparse_coo_tensor(index, values, (count, count)).coalesce().to_sparse_csr()


def dense_neighbours(features: torch.Tensor, k: int) -> torch.Tensor:
    """The k nearest by cosine from the whole similarity matrix."""
    unit = torch.nn.functional.normalize(features, dim=1)
    return torch.sort(unit @ unit.T, dim=1, descending=True, stable=True).indices[:, :k]
