"""The user graph of DualGNN and DRAGON: counts of common items against the reference, weights and padding by hand."""

from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from trustmm.backbone.user_graph import UserGraph
from trustmm.dataset.data import TrainData
from trustmm.graph.edges import Edges
from trustmm.graph.neighbours import NeighbourSearch

NUM_USERS, NUM_ITEMS, K = 17, 29, 6


def graph_of(edges: Edges, k: int, *, pad: bool) -> UserGraph:
    return UserGraph(TrainData(edges, edges, {}), neighbours=NeighbourSearch(), k=k, pad=pad)


@pytest.fixture
def edges() -> Edges:
    """User 3 shares nothing, user 4 one item with each of two partners."""
    chosen = np.random.default_rng(0).random((NUM_USERS, NUM_ITEMS)) < 0.2
    chosen[3:5], chosen[:, -2:] = False, False
    chosen[3, -1] = True
    chosen[[4, 5, 6], -2] = True
    return Edges.of(*chosen.nonzero(), NUM_USERS, NUM_ITEMS)


@pytest.mark.parametrize("file", ["dualgnn", "dragon"])
def test_oracle_partners_and_weights_follow_from_the_counts(oracle_folder: Path, file: str) -> None:
    inputs, expected = (dict(np.load(oracle_folder / f"{name}.npz")) for name in ("inputs", file))
    edges = Edges.of(inputs["train_user"], inputs["train_item"], *inputs["shape"].tolist())
    common, index = expected["graph/user_common"], expected["draw/user_index"]
    whole = graph_of(edges, edges.num_users, pad=False)
    counts = np.zeros_like(common)
    counts[np.repeat(np.arange(edges.num_users), whole.lengths), whole.partner] = whole.count
    assert_array_equal(counts, common)
    drawn = np.zeros(common.shape)
    np.add.at(drawn, (np.arange(edges.num_users)[:, None], index), expected["draw/user_weight"])
    full = whole.lengths >= index.shape[1]  # the others are padded at random
    assert full.any()
    found = graph_of(edges, index.shape[1], pad=False).matrix.to_dense().numpy()
    assert_allclose(found[full], drawn[full], rtol=1e-4, atol=1e-9)


def test_weights_are_the_softmax_of_the_counts(edges: Edges) -> None:
    dense = np.zeros((NUM_USERS, NUM_ITEMS))
    dense[edges.users, edges.items] = 1
    common = dense @ dense.T
    np.fill_diagonal(common, 0)
    expected = np.zeros_like(common)
    for user, row in enumerate(common):
        chosen = [v for v in np.lexsort((np.arange(NUM_USERS), -row))[:K] if row[v]]
        expected[user, chosen] = np.exp(row[chosen]) / np.exp(row[chosen]).sum()
    found = graph_of(edges, K, pad=False)
    assert (found.lengths[3], found.lengths[4]) == (0, 2)
    assert_allclose(found.matrix.to_dense().numpy(), expected, rtol=1e-6)


def test_padding_repeats_partners_until_there_are_k_and_counts_them_again(edges: Edges) -> None:
    graph = graph_of(edges, K, pad=True)
    plain, times = graph.matrix.to_dense().numpy(), []
    for seed in range(200):
        graph.begin_epoch(np.random.default_rng(seed))
        padded = graph.training_matrix.to_dense().numpy()
        assert_array_equal(padded > 0, plain > 0)
        assert_allclose(padded[graph.lengths == K], plain[graph.lengths == K], rtol=1e-6)
        times.append(padded[4, 5] * K)
    assert_allclose(times, np.rint(times), atol=1e-5)
    often = np.bincount(np.rint(times).astype(int), minlength=K)[1:] / len(times)
    assert_allclose(often, 1 / 5, atol=0.1)  # an urn of two that grows to six by its own repeats: 1 .. 5, all alike
    assert_array_equal(plain[3], 0)
