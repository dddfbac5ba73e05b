"""Edges as a value: sorted, distinct, within its shape."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from trustmm.graph.edges import Edges

PROPERTY = settings(derandomize=True, deadline=None, max_examples=60, database=None)
NUM_USERS, NUM_ITEMS = 17, 29
PAIRS = st.sets(st.tuples(st.integers(0, NUM_USERS - 1), st.integers(0, NUM_ITEMS - 1)), max_size=60)


def make(pairs: set[tuple[int, int]]) -> Edges:
    shuffled = np.random.default_rng(len(pairs)).permutation(sorted(pairs)).reshape(-1, 2)
    return Edges.of(shuffled[:, 0], shuffled[:, 1], NUM_USERS, NUM_ITEMS)


@PROPERTY
@given(pairs=PAIRS)
def test_edges_of_sorts_by_user_then_item(pairs: set[tuple[int, int]]) -> None:
    edges = make(pairs)
    assert list(zip(edges.users.tolist(), edges.items.tolist(), strict=True)) == sorted(pairs)
    assert len(edges) == len(pairs)
    assert edges.users.dtype == edges.items.dtype == np.int64


@PROPERTY
@given(pairs=PAIRS)
def test_degrees_and_offsets_count_every_user_and_item(pairs: set[tuple[int, int]]) -> None:
    edges = make(pairs)
    assert_array_equal(edges.user_degree, [sum(u == user for u, _ in pairs) for user in range(NUM_USERS)])
    assert_array_equal(edges.item_degree, [sum(i == item for _, i in pairs) for item in range(NUM_ITEMS)])
    for user in range(NUM_USERS):
        own = edges.items[edges.user_offsets[user] : edges.user_offsets[user + 1]]
        assert_array_equal(own, sorted(item for u, item in pairs if u == user))


@PROPERTY
@given(pairs=PAIRS, other=PAIRS)
def test_membership_and_union_are_those_of_sets(pairs: set[tuple[int, int]], other: set[tuple[int, int]]) -> None:
    edges, others = make(pairs), make(other)
    every = np.arange(NUM_USERS * NUM_ITEMS)
    expected = [(key // NUM_ITEMS, key % NUM_ITEMS) in pairs for key in every.tolist()]
    assert_array_equal(edges.contains(every), expected)
    assert all(pair in edges for pair in pairs)
    assert ((0, 0) in edges) == ((0, 0) in pairs)
    union = edges.union(others)
    assert set(zip(union.users.tolist(), union.items.tolist(), strict=True)) == pairs | other
    assert edges.same_as(others) == (pairs == other)
    assert edges.same_as(make(pairs))


@PROPERTY
@given(pairs=PAIRS)
def test_keys_round_trip(pairs: set[tuple[int, int]]) -> None:
    edges = make(pairs)
    assert edges.same_as(Edges.from_keys(edges.keys, NUM_USERS, NUM_ITEMS))


def test_equal_pairs_over_other_shapes_are_not_the_same() -> None:
    assert not Edges.of([0], [0], 2, 3).same_as(Edges.of([0], [0], 2, 4))
    assert not Edges.of([0], [0], 2, 3).same_as(Edges.of([0], [0], 3, 3))


@pytest.mark.parametrize(
    ("users", "items", "message"),
    [
        ([0, 17], [0, 0], "user ids must be in [0, 17), got [0, 17]"),
        ([0, -1], [0, 0], "user ids must be in [0, 17), got [-1, 0]"),
        ([0, 1], [0, 29], "item ids must be in [0, 29), got [0, 29]"),
        ([0, 1], [-2, 5], "item ids must be in [0, 29), got [-2, 5]"),
        ([3, 1, 3], [7, 7, 7], "user 3 and item 7 are paired twice"),
    ],
)
def test_bad_pairs_are_refused_by_number(users: list[int], items: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        Edges.of(np.array(users), np.array(items), NUM_USERS, NUM_ITEMS)


def test_no_pairs_are_a_value_too() -> None:
    nothing = Edges.of([], [], NUM_USERS, NUM_ITEMS)
    assert len(nothing) == 0
    assert not nothing.contains(np.arange(5)).any()
    assert nothing.user_degree.shape == (NUM_USERS,)
    assert (0, 0) not in nothing


def test_building_edges_leaves_the_arrays() -> None:
    users, items = np.array([3, 1]), np.array([4, 5])
    Edges.of(users, items, NUM_USERS, NUM_ITEMS)
    assert_array_equal(users, [3, 1])
    assert_array_equal(items, [4, 5])
