"""Edits by the evidence of priors that never saw the judged edges (`trustmm.trust.edges`).

Each ranks the edges or the candidates of a judged graph once, and gives the edited graph at any ratio; at 0 the same.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from trustmm.edit.complete import candidates
from trustmm.edit.similarity import similarity
from trustmm.exact import decimal, exact_share
from trustmm.graph.edges import Edges, IntArray
from trustmm.graph.weighted import WeightedEdges
from trustmm.trust.edges import Judged

Edited = Callable[[float], Edges]
"""The edited graph at a ratio."""


def pruned(judged: Judged, **_: Any) -> Edited:
    """Without the floor(ratio * E) edges of the largest p-values; equal ones fall by user and item.

    An edge without evidence stays as long as there are others.
    """
    order = np.argsort(-np.nan_to_num(judged.p, nan=0.0), kind="stable")
    return lambda ratio: judged.edges.subset(np.sort(order[exact_share(ratio, len(order)) :]))


def completed(judged: Judged, *, k_user: int, k_item: int, device: torch.device) -> Edited:
    """With up to floor(ratio * E) pairs that every fold's prior proposes, at most a share of each user and item.

    A candidate (see `candidates`) is as strong as its similarity under the fold prior that believes in it least, so one
    above a threshold is above it in all of them (stability selection, Meinshausen and Buehlmann 2010). The strongest is
    taken first, then the next; a node of degree d gets at most ceil(ratio * d), then its other candidates are passed.
    Where content is heard, a candidate's place in this order is evidence, to which that of content is added.
    """
    edges = judged.edges
    found = candidates(edges, judged.whole(), k_user=k_user, k_item=k_item, device=device)
    strength = np.min([similarity(prior, found) for prior in judged.priors()], axis=0)
    if judged.heard is not None:
        strength = judged.heard(found, strength)
    order = np.argsort(-strength, kind="stable")
    users, items = found.users[order], found.items[order]

    def edited(ratio: float) -> Edges:
        room = _most(ratio, edges.user_degree), _most(ratio, edges.item_degree)
        chosen = order[first_with_room((users, items), room)][: exact_share(ratio, len(edges))]
        return edges.union(found.subset(np.sort(chosen)))

    return edited


def _most(ratio: float, degree: IntArray) -> IntArray:
    """ceil(ratio * degree) of the decimal ratio."""
    share = decimal(ratio)
    return -(-degree * share.numerator // share.denominator)


def first_with_room(ends: tuple[IntArray, IntArray], room: tuple[IntArray, IntArray]) -> IntArray:
    """Places of the pairs that are taken one after the other, each where both of its ends still have room.

    In rounds: who is among the first of both its ends, as many as there is room, is taken whatever else is.

    Args:
        ends: the two nodes of each pair, (P,) each.
        room: pairs that each node has room for.
    """
    left, taken = np.arange(len(ends[0])), []
    room = room[0].copy(), room[1].copy()
    while len(left):
        sides = [(nodes[left], space) for nodes, space in zip(ends, room, strict=True)]
        fits = np.logical_and(*(_place_of_its_node(nodes) < space[nodes] for nodes, space in sides))
        taken.append(left[fits])
        for nodes, space in sides:
            space -= np.bincount(nodes[fits], minlength=len(space))
        left = left[~fits & (sides[0][1][sides[0][0]] > 0) & (sides[1][1][sides[1][0]] > 0)]
    return np.sort(np.concatenate([*taken, np.empty(0, dtype=np.int64)]))


def _place_of_its_node(nodes: IntArray) -> IntArray:
    """How often a node has occurred before, (E,)."""
    order = np.argsort(nodes, kind="stable")
    count = np.bincount(nodes)
    place = np.empty(len(nodes), dtype=np.int64)
    place[order] = np.arange(len(nodes)) - np.repeat(np.cumsum(count) - count, count)
    return place


def reweighed(judged: Judged, **_: Any) -> Edited:
    """All edges, with weights w = 1 - lambda p that take `ratio` of their sum away.

    lambda = ratio / mean(p), but at most 2 A - 1 with the alignment A of these edges: where the prior knows nothing all
    weights stay 1. An edge without evidence keeps its weight.
    """
    edges, p = judged.edges, np.nan_to_num(judged.p, nan=0.0)
    known = judged.user_p[np.isfinite(judged.user_p)]
    most = max(0.0, 1 - 2 * known.mean()) if len(known) else 0.0

    def edited(ratio: float) -> Edges:
        strength = min(ratio / p.mean(), most) if most else 0.0
        return _weighted(edges, (1 - strength * p).astype(np.float32)) if strength else edges

    return edited


def _weighted(edges: Edges, weights: NDArray[np.float32]) -> WeightedEdges:
    nobody, nothing = np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float32)
    return WeightedEdges(edges.users, edges.items, edges.num_users, edges.num_items, weights, (nobody, nobody, nothing))
