"""ItemKNN against dense algebra."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from trustmm.backbone.itemknn import ItemKNN
from trustmm.dataset.data import TrainData
from trustmm.graph import common_items
from trustmm.graph.edges import Edges
from trustmm.graph.neighbours import NeighbourSearch

NUM_USERS, NUM_ITEMS = 17, 29


@pytest.mark.parametrize("block", [1, 200, 1 << 24])
@pytest.mark.parametrize(("k", "shrink"), [(1, 0.0), (4, 0.0), (4, 3.0), (NUM_ITEMS, 3.0), (500, 0.0)])
def test_scores_are_dense_algebra(k: int, shrink: float, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(common_items, "BLOCK_ENTRIES", block)
    keys = np.sort(np.random.default_rng(0).permutation(NUM_USERS * NUM_ITEMS)[:120])
    edges = Edges.from_keys(keys, NUM_USERS, NUM_ITEMS)
    dense = np.zeros((NUM_USERS, NUM_ITEMS))
    dense[edges.users, edges.items] = 1
    degree = dense.sum(axis=0)
    scale = np.sqrt(np.outer(degree, degree)) + shrink
    whole = np.divide(dense.T @ dense, scale, out=np.zeros_like(scale), where=scale > 0)
    kept = np.zeros_like(whole)
    for row, line in enumerate(whole):
        best = np.argsort(-line, kind="stable")[:k]
        kept[row, best] = line[best]
    options = {"rng": np.random.default_rng(0), "neighbours": NeighbourSearch(), "k": k, "shrink": shrink}
    model = ItemKNN(TrainData(edges, edges, {}), **options)
    assert_allclose(model.scorer().scores(torch.arange(NUM_USERS)).numpy(), dense @ kept, rtol=1e-5)


def test_without_edges_all_scores_are_zero() -> None:
    edges = Edges.from_keys(np.empty(0, dtype=np.int64), 2, 3)
    options = {"rng": np.random.default_rng(0), "neighbours": NeighbourSearch(), "k": 2, "shrink": 1.0}
    scorer = ItemKNN(TrainData(edges, edges, {}), **options).scorer()
    assert scorer.largest() == 0
    assert not scorer.scores(torch.arange(2)).any()
