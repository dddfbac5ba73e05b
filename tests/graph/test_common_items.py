"""Who has most in common, against a dense product."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from trustmm.graph import common_items as common
from trustmm.graph.common_items import most_in_common

NUM_USERS, NUM_ITEMS = 17, 29


@pytest.mark.parametrize("entries", [common.BLOCK_ENTRIES, 40, 1])
@pytest.mark.parametrize(("k", "least"), [(1, 1), (4, 1), (4, 2), (100, 1), (3, 50)])
@pytest.mark.parametrize("swap", [False, True])
def test_partners_are_those_of_the_dense_product(
    entries: int, k: int, least: int, swap: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(common, "BLOCK_ENTRIES", entries)
    matrix = np.random.default_rng(0).random((NUM_USERS, NUM_ITEMS)) < 0.25
    matrix[3], matrix[:, 4] = False, False
    matrix = (matrix.T if swap else matrix).astype(int)
    counts = matrix @ matrix.T
    np.fill_diagonal(counts, 0)
    left, right = matrix.nonzero()
    found = most_in_common(left=left, right=right, size=matrix.shape, k=k, least=least)
    assert len(found["offsets"]) == len(matrix) + 1
    for row, values in enumerate(counts):
        expected = [column for column in np.argsort(-values, kind="stable")[:k] if values[column] >= least]
        part = slice(found["offsets"][row], found["offsets"][row + 1])
        assert_array_equal(found["partner"][part], expected)
        assert_array_equal(found["count"][part], values[expected])
