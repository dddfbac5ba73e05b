"""The k-core, on graphs whose answer is known, and by its definition."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from trustmm.dataset.prepare.core import k_core
from trustmm.dataset.prepare.interactions import Interactions, distinct, renumbered


def graph(pairs: list[tuple[int, int]]) -> Interactions:
    users, items = (np.array([pair[side] for pair in pairs], dtype=np.int64) for side in (0, 1))
    names = [[f"{kind}{number}" for number in range(50)] for kind in "ui"]
    return Interactions(users, items, np.full(len(pairs), np.nan), *names)


def test_block_stays_and_what_hangs_on_it_falls_round_by_round() -> None:
    block = [(user, item) for user in range(3) for item in range(3)]
    chain = [(3, 0), (3, 3), (4, 3), (4, 4)]  # item 4 has one pair, then user 4 one, then item 3, then user 3
    core, rounds = k_core(graph(chain + block), 2)
    assert set(zip(core.users.tolist(), core.items.tolist(), strict=True)) == set(block)
    assert rounds == 4


def test_nothing_is_left_of_a_tree() -> None:
    core, _ = k_core(graph([(0, 0), (0, 1), (1, 1), (1, 2)]), 2)
    assert len(core) == 0


def test_full_graph_is_its_own_core() -> None:
    pairs = graph([(user, item) for user in range(5) for item in range(5)])
    core, rounds = k_core(pairs, 5)
    assert (len(core), rounds) == (25, 0)


def brute_force(pairs: set[tuple[int, int]], k: int) -> set[tuple[int, int]]:
    """One user or item at a time."""
    while True:
        for side in (0, 1):
            for node in {pair[side] for pair in pairs}:
                if sum(pair[side] == node for pair in pairs) < k:
                    pairs = {pair for pair in pairs if pair[side] != node}
                    break
            else:
                continue
            break
        else:
            return pairs


@settings(max_examples=30)
@given(st.sets(st.tuples(st.integers(0, 7), st.integers(0, 6)), max_size=40), st.integers(1, 4))
def test_core_is_what_removing_one_by_one_leaves(pairs: set[tuple[int, int]], k: int) -> None:
    core, _ = k_core(graph(sorted(pairs)), k)
    assert set(zip(core.users.tolist(), core.items.tolist(), strict=True)) == brute_force(pairs, k)


def test_duplicates_keep_their_earliest_time() -> None:
    pairs = graph([(1, 1), (0, 0), (1, 1), (1, 1)])
    pairs.times[:] = [5.0, 9.0, np.nan, 2.0]
    kept = renumbered(distinct(pairs))
    assert_array_equal(kept.times, [9.0, 2.0])
    assert (kept.user_names, kept.item_names) == (["u0", "u1"], ["i0", "i1"])


def test_numbering_does_not_depend_on_the_order_of_lines() -> None:
    pairs = [(4, 2), (3, 1), (4, 1), (0, 9)]
    one, other = renumbered(graph(pairs)), renumbered(graph(pairs[::-1]))
    assert_array_equal(one.users, other.users)
    assert_array_equal(one.items, other.items)
    assert one.user_names == ["u0", "u3", "u4"]
    assert_array_equal(one.users, [0, 1, 2, 2])
    assert_array_equal(one.items, [2, 0, 0, 1])
