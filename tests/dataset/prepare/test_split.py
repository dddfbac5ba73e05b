"""Splits: known answers, one per seed, and the sizes of the published ones."""

from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from trustmm.dataset.folder import read_splits
from trustmm.dataset.prepare.interactions import Interactions
from trustmm.dataset.prepare.split import random_split, time_split
from trustmm.dataset.split import held_out_counts


def pairs_of(degrees: list[int]) -> Interactions:
    users = np.repeat(np.arange(len(degrees)), degrees)
    items = np.concatenate([np.arange(degree) for degree in degrees])
    return Interactions(users, items, np.full(len(users), np.nan), [], [])


def test_held_out_counts_of_small_users_are_these() -> None:
    valid, test = held_out_counts(np.array([1, 2, 3, 5, 10, 14, 15, 19, 20, 25, 30, 100]))
    assert_array_equal(valid, [0, 0, 1, 1, 1, 1, 1, 1, 2, 2, 3, 10])
    assert_array_equal(test, [0, 0, 1, 1, 1, 1, 2, 2, 2, 3, 3, 10])


def test_every_user_gets_what_the_counts_say() -> None:
    degrees = [1, 2, 3, 5, 17, 25, 40]
    pairs = pairs_of(degrees)
    labels = random_split(pairs, seed=4)
    for label, counts in enumerate(held_out_counts(np.array(degrees)), start=1):
        assert_array_equal(np.bincount(pairs.users[labels == label], minlength=len(degrees)), counts)


def test_same_seed_same_split_and_another_seed_another() -> None:
    pairs = pairs_of([20] * 10)
    assert_array_equal(random_split(pairs, 0), random_split(pairs, 0))
    assert (random_split(pairs, 0) != random_split(pairs, 1)).any()


def test_every_pair_is_as_likely_to_be_held_out() -> None:
    pairs = pairs_of([5])
    held_out = sum((random_split(pairs, seed) == 2).astype(int) for seed in range(2000))
    assert_array_equal(np.abs(held_out / 2000 - 0.2) < 0.04, True)  # 4.5 standard deviations


def test_time_split_puts_the_latest_tenth_into_test() -> None:
    labels, (last_train, last_valid) = time_split(np.array([9.0, 1, 2, 3, 4, 5, 6, 7, 8, 10]))
    assert_array_equal(labels, [1, 0, 0, 0, 0, 0, 0, 0, 0, 2])
    assert (last_train, last_valid) == (8, 9)


def test_pairs_of_one_time_stay_together() -> None:
    times = np.array([1.0] * 14 + [2.0] * 3 + [3.0] * 2 + [4.0])
    labels, _ = time_split(times)
    assert_array_equal(labels, [0] * 17 + [1] * 2 + [2])
    assert all(len(set(labels[times == time])) == 1 for time in np.unique(times))


def test_time_split_without_different_times_is_refused() -> None:
    with pytest.raises(ValueError, match=r"--split time: 20 pairs at 2 different times .* use --split random"):
        time_split(np.array([1.0] * 19 + [2.0]))


@pytest.mark.realdata
@pytest.mark.parametrize(("name", "sizes"), [("baby", (118551, 20559, 21682)), ("sports", (218409, 37899, 40029))])
def test_published_splits_have_the_sizes_of_ours(name: str, sizes: tuple[int, int, int], real_data: Path) -> None:
    train, valid, test = read_splits(real_data / name / f"{name}.inter")
    every = train.union(valid).union(test)
    labels = random_split(Interactions(every.users, every.items, np.zeros(len(every)), [], []), seed=0)
    assert tuple(np.bincount(labels)) == sizes
    for label, published in enumerate((train, valid, test)):
        assert_array_equal(np.bincount(every.users[labels == label], minlength=every.num_users), published.user_degree)
