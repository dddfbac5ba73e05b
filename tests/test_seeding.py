"""Named streams: repeatable, independent, unbothered by the order of calls."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from trustmm.seeding import stream

PROPERTY = settings(derandomize=True, deadline=None, max_examples=30, database=None)


@PROPERTY
@given(seed=st.integers(0, 2**40), purpose=st.lists(st.text(max_size=5), max_size=3))
def test_equal_names_give_equal_streams_whatever_was_drawn_between(seed: int, purpose: list[str]) -> None:
    first = stream(seed, *purpose).random(5)
    stream(seed + 1, *purpose).random(7)
    np.random.default_rng().random(3)
    assert_array_equal(stream(seed, *purpose).random(5), first)


def test_seeds_and_purposes_give_distinct_streams() -> None:
    names = [(), ("init",), ("batches",), ("init", "visual"), ("init", "textual"), ("visual", "init")]
    draws = {tuple(stream(seed, *name).integers(0, 2**62, 2)) for seed in (0, 1, 2**32, 2**70) for name in names}
    assert len(draws) == 4 * len(names)


def test_streams_of_two_purposes_are_not_correlated() -> None:
    left, right = (stream(0, "a", str(place)).standard_normal(20000) for place in range(2))
    assert abs(np.corrcoef(left, right)[0, 1]) < 5 / np.sqrt(20000)


def test_streams_do_not_change_between_versions() -> None:
    """These numbers are part of every published result."""
    assert stream(0, "corruption", "features", "visual").integers(0, 10**9, 3).tolist() == PINNED[0]
    assert stream(7, "init").integers(0, 10**9, 3).tolist() == PINNED[1]


PINNED = ([842635884, 293015029, 118179808], [790419287, 753676867, 597476081])


def test_seed_must_not_be_negative() -> None:
    with pytest.raises(ValueError, match="negative|non-negative"):
        stream(-1, "init")
