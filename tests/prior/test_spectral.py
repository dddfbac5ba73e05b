"""The cheap prior against a dense singular value decomposition."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from trustmm.graph.edges import Edges
from trustmm.graph.weighted import WeightedEdges
from trustmm.prior import spectral
from trustmm.prior.spectral import STEPS, normalised, spectral_prior

USERS, ITEMS = 47, 31
NO_LINKS = (np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float32))


def graph() -> Edges:
    chosen = np.random.default_rng(0).random((USERS, ITEMS)) < 0.2
    chosen[5], chosen[:, 7] = False, False
    return Edges.of(*chosen.nonzero(), USERS, ITEMS)


def dense(edges: Edges, weights: np.ndarray) -> np.ndarray:
    """D_u^-1/2 R D_i^-1/2."""
    matrix = np.zeros((USERS, ITEMS))
    matrix[edges.users, edges.items] = weights
    scale = [1 / np.sqrt(np.where(total > 0, total, np.inf)) for total in (matrix.sum(axis=1), matrix.sum(axis=0))]
    return scale[0][:, None] * matrix * scale[1]


@pytest.mark.parametrize("rank", [3, 31])
def test_inner_products_are_a_walk_in_the_leading_part_of_the_spectrum(
    rank: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spectral, "RANK", rank)
    edges = graph()
    prior = spectral_prior(edges)
    left, values, right = np.linalg.svd(dense(edges, np.ones(len(edges))))
    expected = (left[:, :rank] * values[:rank] ** STEPS) @ right[:rank] * np.sqrt(edges.item_degree)
    assert_allclose(prior.user_UD @ prior.item_ID.T, expected, atol=2e-3)
    if rank == 31:  # everything: exactly the probabilities of reaching an item
        walk = prior.user_UD @ prior.item_ID.T / np.sqrt(np.maximum(edges.user_degree, 1))[:, None]
        once = np.zeros((USERS, ITEMS))
        once[edges.users, edges.items] = 1
        forth, back = (part / np.maximum(part.sum(axis=1, keepdims=True), 1) for part in (once, once.T))
        assert_allclose(walk, forth @ back @ forth @ back @ forth, atol=1e-3)


def test_users_and_items_without_edges_have_zero_rows() -> None:
    prior = spectral_prior(graph())
    assert_array_equal(np.flatnonzero(~prior.user_UD.any(axis=1)), [5])
    assert_array_equal(np.flatnonzero(~prior.item_ID.any(axis=1)), [7])
    assert prior.user_UD.dtype == prior.item_ID.dtype == np.float32


def test_weights_of_edges_count() -> None:
    edges, weights = graph(), np.random.default_rng(1).random(len(graph())).astype(np.float32)
    weighted = WeightedEdges(edges.users, edges.items, USERS, ITEMS, weights, NO_LINKS)
    assert_allclose(normalised(weighted)[0].todense(), dense(edges, weights), atol=1e-6)


def test_equal_graphs_give_equal_bits() -> None:
    first, again = spectral_prior(graph()), spectral_prior(graph())
    assert_array_equal(first.user_UD, again.user_UD)
    assert_array_equal(first.item_ID, again.item_ID)
