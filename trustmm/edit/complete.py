"""Relation completion: the pairs that the prior misses most (the paper, Eqs. 17-20), never a users x items matrix."""

import numpy as np
import torch
from torch import Tensor

from trustmm.edit.similarity import similarity
from trustmm.graph.dense import all_inner_products
from trustmm.graph.edges import Edges, IntArray
from trustmm.graph.neighbours import BLOCK_ENTRIES, top_k
from trustmm.prior.lightgcn import Prior


def strongest_pairs(edges: Edges, prior: Prior, count: int, *, k_user: int, k_item: int, device: torch.device) -> Edges:
    """The `count` candidates with the largest similarity; equal ones by user, then item (Eq. 20).

    Args:
        edges: training edges.
        prior: embeddings of all users and items.
        count: pairs to choose.
        k_user: candidates of each user, see `candidates`.
        k_item: candidates of each item.
        device: where the products run.

    Raises: ValueError if there are fewer candidates.
    """
    found = candidates(edges, prior, k_user=k_user, k_item=k_item, device=device)
    if count > len(found):
        raise ValueError(
            f"edit.ratio asks for {count} new pairs, but edit.k_user={k_user} and edit.k_item={k_item} give only "
            f"{len(found)} candidates; raise them or lower edit.ratio"
        )
    order = np.argsort(-similarity(prior, found), kind="stable")[:count]
    return Edges.from_keys(found.keys[np.sort(order)], edges.num_users, edges.num_items)


def candidates(edges: Edges, prior: Prior, *, k_user: int, k_item: int, device: torch.device) -> Edges:
    """Each user's `k_user` best items and each item's `k_item` best users without a training edge (Eqs. 17-19).

    Whoever has fewer free partners contributes those. Equal similarities: the smaller index first.
    """
    user_UD, item_ID = (torch.from_numpy(rows).to(device) for rows in (prior.user_UD, prior.item_ID))
    swapped = Edges.of(edges.items, edges.users, edges.num_items, edges.num_users)
    users, items = best_partners(edges, user_UD, item_ID, k_user)
    chosen_items, chosen_users = best_partners(swapped, item_ID, user_UD, k_item)
    keys = np.union1d(users * edges.num_items + items, chosen_users * edges.num_items + chosen_items)
    return Edges.from_keys(keys, edges.num_users, edges.num_items)


def best_partners(edges: Edges, left_LD: Tensor, right_RD: Tensor, k: int) -> tuple[IntArray, IntArray]:
    """For each row on the left its k best partners on the right to which it has no edge.

    Args:
        edges: pairs (left, right) that are left out.
        left_LD: (L, D) embeddings.
        right_RD: (R, D) embeddings.
        k: partners of a row, at most.

    Returns: left and right indices, equally long.
    """
    k = min(k, len(right_RD))
    index_LK = torch.empty(len(left_LD), k, dtype=torch.int64, device=left_LD.device)
    free_LK = torch.empty_like(index_LK, dtype=torch.bool)
    block = max(1, BLOCK_ENTRIES // len(right_RD))
    for start in range(0, len(left_LD), block):
        stop = min(start + block, len(left_LD))
        scores_BR = all_inner_products(left_LD[start:stop], right_RD)
        known = slice(edges.user_offsets[start], edges.user_offsets[stop])
        rows, columns = (torch.from_numpy(side).to(left_LD.device) for side in (edges.users[known], edges.items[known]))
        scores_BR[rows - start, columns] = -torch.inf
        values, index_LK[start:stop] = top_k(scores_BR, k)
        free_LK[start:stop] = values > -torch.inf
        del scores_BR  # the next block takes its place in memory
    left, place = free_LK.nonzero(as_tuple=True)
    return left.cpu().numpy(), index_LK[left, place].cpu().numpy()
