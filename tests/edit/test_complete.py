"""Completion against a dense matrix, ties included."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal

from trustmm.dataset.data import TrainData
from trustmm.edit import complete
from trustmm.edit.complete import candidates, strongest_pairs
from trustmm.graph.edges import Edges
from trustmm.prior.lightgcn import Prior

Graph = tuple[TrainData, Edges, Prior]
CPU = torch.device("cpu")
Pairs = set[tuple[int, int]]


def free_similarities(edges: Edges, prior: Prior) -> np.ndarray:
    """All similarities as a dense matrix of whole numbers; -99 where there is a training edge."""
    dense_UI = (prior.user_UD @ prior.item_ID.T).astype(int)
    dense_UI[edges.users, edges.items] = -99
    return dense_UI


def candidates_by_hand(edges: Edges, prior: Prior, k_user: int, k_item: int) -> Pairs:
    dense_UI, found = free_similarities(edges, prior), set()
    for side, matrix, k in (("user", dense_UI, k_user), ("item", dense_UI.T, k_item)):
        for row, values in enumerate(matrix):
            free = sorted((-value, column) for column, value in enumerate(values) if value > -99)
            found |= {(row, column) if side == "user" else (column, row) for _, column in free[:k]}
    return found


def pairs(edges: Edges) -> Pairs:
    return set(zip(edges.users.tolist(), edges.items.tolist(), strict=True))


@pytest.mark.parametrize(("k_user", "k_item"), [(1, 1), (3, 2), (10, 10), (1000, 1), (1, 1000)])
@pytest.mark.parametrize("entries", [complete.BLOCK_ENTRIES, 60])
def test_candidates_are_those_of_a_dense_matrix(
    graph: Graph, k_user: int, k_item: int, entries: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(complete, "BLOCK_ENTRIES", entries)
    train, _, prior = graph
    found = candidates(train.supervision, prior, k_user=k_user, k_item=k_item, device=CPU)
    assert pairs(found) == candidates_by_hand(train.supervision, prior, k_user, k_item)


@pytest.mark.parametrize("count", [0, 1, 5, 20])
def test_strongest_pairs_are_the_first_candidates_by_similarity_then_user_then_item(graph: Graph, count: int) -> None:
    train, _, prior = graph
    dense_UI = free_similarities(train.supervision, prior)
    ranked = sorted((-dense_UI[u, i], u, i) for u, i in candidates_by_hand(train.supervision, prior, 3, 2))
    assert len({value for value, _, _ in ranked}) < 10 < len(ranked)  # there are ties
    chosen = strongest_pairs(train.supervision, prior, count, k_user=3, k_item=2, device=CPU)
    assert pairs(chosen) == {(u, i) for _, u, i in ranked[:count]}
    assert len(chosen) == count


def test_any_real_prior_gives_the_pairs_of_a_dense_matrix(graph: Graph) -> None:
    train, _, _ = graph
    edges, rng = train.supervision, np.random.default_rng(1)
    prior = Prior(
        rng.standard_normal((edges.num_users, 8)).astype(np.float32),
        rng.standard_normal((edges.num_items, 8)).astype(np.float32),
    )
    dense_UI = prior.user_UD.astype(np.float64) @ prior.item_ID.T
    dense_UI[edges.users, edges.items] = -np.inf
    best_items = np.argsort(-dense_UI, axis=1)[:, :2]
    users, items = np.repeat(np.arange(len(best_items)), 2), best_items.ravel()
    possible = np.isfinite(dense_UI[users, items])
    chosen = strongest_pairs(edges, prior, 12, k_user=2, k_item=1, device=CPU)
    best_users = dense_UI.argmax(axis=0)
    both = np.union1d(
        (users * edges.num_items + items)[possible], best_users * edges.num_items + np.arange(edges.num_items)
    )
    order = np.argsort(-dense_UI.ravel()[both])[:12]
    assert_array_equal(chosen.keys, np.sort(both[order]))


def test_too_few_candidates_are_an_error(graph: Graph) -> None:
    train, _, prior = graph
    with pytest.raises(ValueError, match=r"edit.ratio asks for 300 new pairs, but edit.k_user=1 and edit.k_item=1"):
        strongest_pairs(train.supervision, prior, 300, k_user=1, k_item=1, device=CPU)
