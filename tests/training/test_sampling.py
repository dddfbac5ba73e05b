"""Triples: every edge once, negatives exact and uniform."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from scipy.stats import chisquare

from trustmm.graph.edges import Edges
from trustmm.seeding import stream
from trustmm.training.sampling import TripleSampler

PROPERTY = settings(derandomize=True, deadline=None, max_examples=40, database=None)
NUM_USERS, NUM_ITEMS = 17, 29


def make_edges(seed: int, count: int) -> Edges:
    """Random pairs; nobody has all items."""
    keys = np.random.default_rng(seed).permutation(NUM_USERS * NUM_ITEMS)
    keys = keys[keys % NUM_ITEMS != seed % NUM_ITEMS]
    return Edges.from_keys(np.sort(keys[:count]), NUM_USERS, NUM_ITEMS)


@PROPERTY
@given(seed=st.integers(0, 9999), count=st.integers(1, NUM_USERS * (NUM_ITEMS - 1)))
def test_epoch_has_every_edge_once_and_never_a_positive_as_negative(seed: int, count: int) -> None:
    edges = make_edges(seed, count)
    users, positives, negatives = TripleSampler(edges).epoch(np.random.default_rng(seed))
    assert_array_equal(np.sort(users * NUM_ITEMS + positives), edges.keys)
    assert not edges.contains(users * NUM_ITEMS + negatives).any()
    assert negatives.min() >= 0
    assert negatives.max() < NUM_ITEMS


def test_negatives_are_uniform_over_each_users_other_items() -> None:
    edges = Edges.of([0, 0, 0, 1, 2, 2, 3], [0, 1, 5, 3, 0, 6, 2], 5, 7)
    sampler, rng = TripleSampler(edges), stream(0, "negatives")
    counts = np.zeros((5, 7))
    for _ in range(1500):
        users, _, negatives = sampler.epoch(rng)
        np.add.at(counts, (users, negatives), 1)
    for user in range(4):
        free = ~edges.contains(user * 7 + np.arange(7))
        assert counts[user, ~free].sum() == 0
        assert counts[user].sum() == 1500 * edges.user_degree[user]
        assert chisquare(counts[user, free]).pvalue > 0.001
    assert counts[4].sum() == 0


def test_user_with_one_item_left_always_draws_it() -> None:
    edges = Edges.of([0] * (NUM_ITEMS - 1) + [1], [item for item in range(NUM_ITEMS) if item != 11] + [4], 2, NUM_ITEMS)
    users, _, negatives = TripleSampler(edges).epoch(stream(0, "dense"))
    assert_array_equal(negatives[users == 0], 11)


@pytest.mark.parametrize("left", [0, NUM_ITEMS - 1])
def test_user_with_the_first_or_last_item_left_draws_it(left: int) -> None:
    items = [item for item in range(NUM_ITEMS) if item != left]
    edges = Edges.of([1] * len(items) + [0, 2], [*items, 3, 3], 3, NUM_ITEMS)
    users, _, negatives = TripleSampler(edges).epoch(stream(0, "dense"))
    assert_array_equal(negatives[users == 1], left)


def test_user_with_every_item_is_refused_by_number() -> None:
    edges = Edges.of([0, 2, 2, 2], [1, 0, 1, 2], 3, 3)
    with pytest.raises(ValueError, match="user 2 has edges to all 3 items, so no negative can be drawn"):
        TripleSampler(edges)


def test_no_edges_are_refused() -> None:
    with pytest.raises(ValueError, match="training needs at least one edge, got none"):
        TripleSampler(Edges.from_keys(np.empty(0, dtype=np.int64), 3, 3))


def test_edges_come_in_a_fresh_uniform_order() -> None:
    edges = make_edges(0, 3)
    orders = [tuple(TripleSampler(edges).epoch(stream(seed, "order"))[1]) for seed in range(600)]
    counts = [orders.count(order) for order in set(orders)]
    assert len(counts) == 6
    assert chisquare(counts).pvalue > 0.001


def test_equal_streams_give_equal_triples_and_other_streams_others() -> None:
    sampler = TripleSampler(make_edges(0, 100))
    assert_array_equal(sampler.epoch(stream(0, "a")), sampler.epoch(stream(0, "a")))
    assert (sampler.epoch(stream(0, "a")) != sampler.epoch(stream(0, "b"))).any()
    assert sampler.epoch(stream(0, "a")).dtype == np.int64


def test_pairs_without_negatives_have_the_order_of_the_triples() -> None:
    edges = make_edges(0, 100)
    pairs = TripleSampler(edges, negatives=False).epoch(stream(0, "a"))
    assert_array_equal(pairs, TripleSampler(edges).epoch(stream(0, "a"))[:2])
