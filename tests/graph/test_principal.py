"""The principal part of the user-item graph, against a dense decomposition of all nodes."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from trustmm.graph import principal
from trustmm.graph.bipartite import bipartite_operator
from trustmm.graph.edges import Edges
from trustmm.graph.principal import THRESHOLD, principal_entries

SIZE, RANK = (23, 31), 16


def graph() -> Edges:
    return Edges.of(*(np.random.default_rng(0).random(SIZE) < 0.3).nonzero(), *SIZE)


@pytest.mark.parametrize("entries", [principal.BLOCK_ENTRIES, 31 * 4])
def test_entries_are_those_of_the_doubled_spectrum(entries: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(principal, "BLOCK_ENTRIES", entries)
    edges = graph()
    left, values, right = np.linalg.svd(bipartite_operator(edges).to_dense().double().numpy())
    assert_allclose(values[:RANK:2], values[1:RANK:2], rtol=1e-5)  # they come in pairs
    quarter = RANK // 4
    weights = values[:quarter] * values[RANK - quarter : RANK]
    expected = (left[:, :quarter] * weights) @ right[:quarter]
    expected[np.abs(expected) < THRESHOLD] = 0
    found = principal_entries(users=edges.users, items=edges.items, size=SIZE, rank=RANK)
    dense = np.zeros(SIZE)
    dense[found["users"], found["items"]] = found["values"]
    assert_allclose(dense, expected[: SIZE[0], SIZE[0] :], atol=1e-6)
    assert not expected[: SIZE[0], : SIZE[0]].any()


def test_the_answer_is_the_same_every_time() -> None:
    edges = graph()
    first, again = (principal_entries(users=edges.users, items=edges.items, size=SIZE, rank=RANK) for _ in range(2))
    for name, array in first.items():
        assert_array_equal(again[name], array)
