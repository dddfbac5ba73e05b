"""Edits by the evidence of priors that never saw the judged edges (`trustmm.trust.edges`). Ratio 0 is the identity."""

from typing import Any

import numpy as np
import torch

from trustmm.edit.complete import candidates
from trustmm.edit.similarity import similarity
from trustmm.exact import decimal, exact_share
from trustmm.graph.edges import Edges, IntArray
from trustmm.graph.weighted import WeightedEdges
from trustmm.trust.edges import Judged


def pruned(judged: Judged, ratio: float, **_: Any) -> Edges:
    """Without the floor(ratio * E) edges of the largest p-values; equal ones fall by user and item.

    An edge without evidence stays as long as there are others.
    """
    order = np.argsort(-np.nan_to_num(judged.p, nan=0.0), kind="stable")
    return judged.edges.subset(np.sort(order[exact_share(ratio, len(order)) :]))


def completed(judged: Judged, ratio: float, *, k_user: int, k_item: int, device: torch.device) -> Edges:
    """With up to floor(ratio * E) pairs that every fold's prior proposes, at most a share of each user and item.

    A candidate (see `candidates`) is as strong as its similarity under the fold prior that believes in it least, so one
    above a threshold is above it in all of them (stability selection, Meinshausen and Buehlmann 2010). A node of
    degree d gets at most ceil(ratio * d) pairs: its strongest ones.
    """
    edges = judged.edges
    if not exact_share(ratio, len(edges)):
        return edges
    found = candidates(edges, judged.whole(), k_user=k_user, k_item=k_item, device=device)
    order = np.argsort(-np.min([similarity(prior, found) for prior in judged.priors()], axis=0), kind="stable")
    room = [
        _place_of_its_node(nodes[order]) < _most(ratio, degree)[nodes[order]]
        for nodes, degree in ((found.users, edges.user_degree), (found.items, edges.item_degree))
    ]
    chosen = order[np.logical_and(*room)][: exact_share(ratio, len(edges))]
    return edges.union(found.subset(np.sort(chosen)))


def _most(ratio: float, degree: IntArray) -> IntArray:
    """ceil(ratio * degree) of the decimal ratio."""
    share = decimal(ratio)
    return -(-degree * share.numerator // share.denominator)


def _place_of_its_node(nodes: IntArray) -> IntArray:
    """How often a node has occurred before, (E,)."""
    order = np.argsort(nodes, kind="stable")
    count = np.bincount(nodes)
    place = np.empty(len(nodes), dtype=np.int64)
    place[order] = np.arange(len(nodes)) - np.repeat(np.cumsum(count) - count, count)
    return place


def reweighed(judged: Judged, ratio: float, **_: Any) -> Edges:
    """All edges, with weights w = 1 - lambda p that take `ratio` of their sum away.

    lambda = ratio / mean(p), but at most 2 A - 1 with the alignment A of these edges: where the prior knows nothing all
    weights stay 1. An edge without evidence keeps its weight.
    """
    edges, p = judged.edges, np.nan_to_num(judged.p, nan=0.0)
    known = judged.user_p[np.isfinite(judged.user_p)]
    strength = min(ratio / p.mean(), max(0.0, 1 - 2 * known.mean())) if len(known) else 0.0
    if not strength:
        return edges
    nobody, weightless = np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float32)
    weights = (1 - strength * p).astype(np.float32)
    return WeightedEdges(
        edges.users, edges.items, edges.num_users, edges.num_items, weights, (nobody, nobody, weightless)
    )
