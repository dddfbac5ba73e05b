"""GraphDA: the graph selected anew by the prior, links among users and among items included."""

import numpy as np
import torch
from scipy.special import expit
from torch import Tensor

from trustmm.edit.complete import best_partners
from trustmm.edit.similarity import similarity
from trustmm.graph.edges import Edges, IntArray
from trustmm.graph.weighted import WeightedEdges
from trustmm.prior.lightgcn import Prior


def reselected(
    prior: Prior,
    *,
    k_user: int,
    k_item: int,
    k_among_users: int,
    k_among_items: int,
    threshold: float,
    device: torch.device,
) -> WeightedEdges:
    r"""The graph that the prior would draw (Fan et al., SIGIR 2023, https://doi.org/10.1145/3539618.3591765).

    .. math::  A = \begin{pmatrix} A_{UU} & B \\ B^\top & A_{II} \end{pmatrix}

    Every user chooses its best items and every item its best users, training edges among all others: what nobody
    chooses is gone, what is new is added. A pair has as weight the number of its ends that chose it, 1 or 2, where
    the sigmoid of its similarity exceeds the threshold; a threshold of 0 keeps all pairs, weighed by that sigmoid
    once for each choice. Users choose users, and items items; each choice links the two in both directions, with
    weight 1, or 2 where it is mutual (the authors' code counts choices among items twice in one direction).

    Args:
        prior: embeddings of all users and items.
        k_user: items that a user chooses.
        k_item: users that an item chooses.
        k_among_users: users that a user chooses, 0 for no links.
        k_among_items: items that an item chooses.
        threshold: see above, in [0, 1).
        device: where candidates are searched.
    """
    user_UD, item_ID = (torch.from_numpy(rows).to(device) for rows in (prior.user_UD, prior.item_ID))
    num_users, num_items = len(user_UD), len(item_ID)
    users, items = best_partners(_nothing(num_users, num_items), user_UD, item_ID, k_user)
    chosen_items, chosen_users = best_partners(_nothing(num_items, num_users), item_ID, user_UD, k_item)
    keys = np.concatenate([users * num_items + items, chosen_users * num_items + chosen_items])
    keys, choices = np.unique(keys, return_counts=True)
    pairs = Edges.from_keys(keys, num_users, num_items)
    belief = expit(similarity(prior, pairs))
    kept = np.flatnonzero(belief > threshold)
    weights = (choices if threshold else choices * belief)[kept].astype(np.float32)
    links = _links(user_UD, k_among_users, 0), _links(item_ID, k_among_items, num_users)
    rows, columns = (np.concatenate(part) for part in zip(*links, strict=True))
    linked = (rows, columns, np.ones(len(rows), dtype=np.float32))
    return WeightedEdges(pairs.users[kept], pairs.items[kept], num_users, num_items, weights, linked)


def _links(rows_ND: Tensor, k: int, first: int) -> tuple[IntArray, IntArray]:
    """Both directions of every choice, numbered from `first`; a mutual choice is there twice."""
    if not k:
        return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
    own = np.arange(len(rows_ND))
    one, other = best_partners(Edges.of(own, own, len(own), len(own)), rows_ND, rows_ND, k)
    return np.concatenate([one, other]) + first, np.concatenate([other, one]) + first


def _nothing(num_left: int, num_right: int) -> Edges:
    return Edges.from_keys(np.empty(0, dtype=np.int64), num_left, num_right)
