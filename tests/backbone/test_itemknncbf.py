"""ItemKNN-CBF against the public reference implementation."""

import functools
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from tests.backbone.oracle import Options, OracleScores
from trustmm.backbone.base import Backbone
from trustmm.backbone.itemknncbf import ItemKNNCBF
from trustmm.dataset.data import TrainData
from trustmm.graph import neighbours
from trustmm.graph.edges import Edges
from trustmm.graph.neighbours import NeighbourSearch, shrunk_nearest


class TestOracle(OracleScores):
    files = ("itemknncbf", "itemknncbf_visual")

    def build(self, o: Options) -> Callable[..., Backbone]:
        return functools.partial(ItemKNNCBF, k=o["knn_k"], shrink=o["shrink"])


def features(count: int = 11) -> np.ndarray:
    """With two zero rows, so that a zero similarity is among the largest of some."""
    found = np.random.default_rng(0).standard_normal((count, 3)).astype(np.float32)
    found[[2, 5]] = 0
    return found


@pytest.mark.parametrize("shrink", [0.0, 2.0])
@pytest.mark.parametrize("k", [1, 9, 11])
def test_scores_are_dense_algebra(k: int, shrink: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "BLOCK_ENTRIES", 30)  # a few rows at a time
    x, edges = features(), Edges.of([0, 0, 2], [2, 4, 7], 3, 11)
    train, rng = TrainData(edges, edges, {"visual": x[:, :2], "textual": x[:, 2:]}), np.random.default_rng(0)
    model = ItemKNNCBF(train, rng=rng, neighbours=NeighbourSearch(), k=k, shrink=shrink)
    length = np.linalg.norm(x, axis=1)
    scale = np.outer(length, length) + shrink
    whole = np.divide(x @ x.T, scale, out=np.zeros((11, 11), dtype=np.float32), where=scale > 0)
    kept = np.zeros_like(whole)
    for row, line in enumerate(whole):
        best = np.argsort(-line, kind="stable")[:k]
        kept[row, best] = line[best]
    expected = np.stack([kept[2] + kept[4], np.zeros(11), kept[7]])
    scorer = model.scorer()
    assert_allclose(scorer.scores(torch.arange(3)).numpy(), expected, rtol=1e-5, atol=1e-6)
    assert_allclose(scorer.scores(torch.tensor([2, 0])).numpy(), expected[[2, 0]], rtol=1e-5, atol=1e-6)


def test_a_zero_row_has_no_neighbours() -> None:
    found = shrunk_nearest(features_ID=features(), k=3, shrink=0.0, device="cpu")
    assert not found["linked"][[2, 5]].any()
    assert found["linked"][0].any()


@pytest.mark.parametrize("power", [-100, -70, 70, 100])
def test_neighbours_are_the_same_in_every_unit(power: int) -> None:
    expected = shrunk_nearest(features_ID=features(), k=3, shrink=2.0, device="cpu")
    shrink = math.ldexp(2.0, 2 * power)
    found = shrunk_nearest(features_ID=np.ldexp(features(), power), k=3, shrink=shrink, device="cpu")
    for name, array in expected.items():
        assert_array_equal(found[name], array)
