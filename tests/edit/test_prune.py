"""Pruning against a sorted list."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from trustmm.dataset.data import TrainData
from trustmm.edit import similarity as similarity_module
from trustmm.edit.prune import weakest_edges
from trustmm.edit.similarity import similarity
from trustmm.graph.edges import Edges
from trustmm.prior.lightgcn import Prior

Graph = tuple[TrainData, Edges, Prior]


@pytest.mark.parametrize("count", [0, 1, 7, 60])
def test_weakest_edges_are_the_first_by_similarity_then_user_then_item(graph: Graph, count: int) -> None:
    train, _, prior = graph
    edges, dense_UI = train.supervision, prior.user_UD.astype(int) @ prior.item_ID.T.astype(int)
    by_hand = sorted((dense_UI[u, i], u, i) for u, i in zip(edges.users, edges.items, strict=True))
    assert len({value for value, _, _ in by_hand}) < 10 < len(by_hand)  # there are ties
    removed = weakest_edges(edges, prior, count)
    assert sorted(zip(removed.users, removed.items, strict=True)) == sorted((u, i) for _, u, i in by_hand[:count])


def test_similarity_does_not_depend_on_the_block(graph: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    train, _, prior = graph
    rng = np.random.default_rng(0)
    prior = Prior(*(rng.standard_normal(rows.shape).astype(np.float32) for rows in (prior.user_UD, prior.item_ID)))
    whole = similarity(prior, train.supervision)
    monkeypatch.setattr(similarity_module, "BLOCK", 5)
    assert_array_equal(similarity(prior, train.supervision), whole)
    dense_UI = prior.user_UD.astype(np.float64) @ prior.item_ID.T.astype(np.float64)
    np.testing.assert_allclose(whole, dense_UI[train.supervision.users, train.supervision.items], rtol=1e-12)


def test_equal_similarities_fall_by_user_then_item() -> None:
    edges = Edges.of([0, 0, 1, 1], [0, 2, 0, 1], 2, 3)
    flat = Prior(np.ones((2, 2), dtype=np.float32), np.ones((3, 2), dtype=np.float32))
    assert_array_equal(weakest_edges(edges, flat, 3).keys, [0, 2, 3])
