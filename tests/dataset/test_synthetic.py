"""The embedded data: exact sizes, clean splits, content that can be switched off."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from omegaconf import OmegaConf

from trustmm.dataset import synthetic
from trustmm.dataset.data import Dataset
from trustmm.dataset.synthetic import SyntheticDataset, best
from trustmm.options.config import config_folder
from trustmm.seeding import stream

PROPERTY = settings(derandomize=True, deadline=None, max_examples=40, database=None)


def make(**changes: Any) -> SyntheticDataset:
    options = OmegaConf.to_container(OmegaConf.load(config_folder() / "dataset" / "synthetic.yaml"))
    small = {"num_users": 61, "num_items": 41, "num_interactions": 500, "modalities": {"visual": 7, "textual": 5}}
    named = {name: value for name, value in options.items() if name not in ("defaults", "_target_")}
    return SyntheticDataset(**(named | small | changes))


def all_keys(data: Dataset) -> np.ndarray:
    return np.concatenate([split.keys for split in (data.train, data.valid, data.test)])


@PROPERTY
@given(
    num_users=st.integers(1, 40),
    num_items=st.integers(6, 30),
    fill=st.floats(0, 1),
    held_out=st.sampled_from([0.01, 0.1, 0.25, 0.4, 0.49]),
    seed=st.integers(0, 99),
)
def test_sizes_are_exact_and_every_user_is_in_every_split(
    num_users: int, num_items: int, fill: float, held_out: float, seed: int
) -> None:
    least, most = 3 * num_users, num_users * (num_items // 2)
    count = least + int(fill * (most - least))
    data = make(
        num_users=num_users, num_items=num_items, num_interactions=count, held_out=held_out, seed=seed, num_groups=3
    )()
    keys = all_keys(data)
    assert len(keys) == count
    assert len(np.unique(keys)) == count
    assert (data.num_users, data.num_items) == (num_users, num_items)
    for split in (data.train, data.valid, data.test):
        assert split.user_degree.min() >= 1
        assert (np.diff(split.keys) > 0).all()
    assert data.observed.user_degree.max() <= num_items // 2
    assert data.train.user_degree.sum() + data.valid.user_degree.sum() + data.test.user_degree.sum() == count


def test_held_out_shares_are_met_on_average() -> None:
    data = make(num_users=200, num_items=300, num_interactions=12000, held_out=0.1)()
    assert len(data.valid) == len(data.test)
    assert len(data.valid) / 12000 == pytest.approx(0.1, abs=0.01)


def test_features_have_the_asked_widths_type_and_unit_variance() -> None:
    data = make(num_items=2001, num_users=100, num_interactions=500)()
    assert {name: matrix.shape for name, matrix in data.features.items()} == {"visual": (2001, 7), "textual": (2001, 5)}
    for matrix in data.features.values():
        assert matrix.dtype == np.float32
        assert 0.6 < matrix.var() < 1.5


def test_equal_options_give_an_equal_digest_and_other_seeds_another() -> None:
    assert make()().digest == make()().digest
    assert make()().content_digest == make()().content_digest
    made = [make(**change)() for change in ({}, {"seed": 1}, {"content": 0.4}, {"num_interactions": 501})]
    assert len({data.digest for data in made}) == len({data.content_digest for data in made}) == 4


def test_identity_is_the_recipe_and_no_bit_of_the_arrays() -> None:
    data = make()()
    visual = data.features["visual"].copy()
    visual[0, 0] = np.nextafter(visual[0, 0], np.float32(9))
    other = replace(data, features=dict(data.features) | {"visual": visual})
    assert other.digest == data.digest
    assert other.content_digest != data.content_digest
    plain = replace(data, recipe=None)
    assert plain.digest == plain.content_digest == data.content_digest != data.digest
    changed = replace(data, recipe=dict(data.recipe) | {"code": "another generator"})
    assert changed.digest != data.digest


def test_best_takes_equal_utilities_by_the_smaller_index() -> None:
    rng = np.random.default_rng(0)
    utility, counts = rng.integers(0, 4, (50, 40)).astype(float), rng.integers(1, 20, 50)
    rows, items = synthetic.best(utility, counts)
    for row, count in enumerate(counts):
        assert_array_equal(items[rows == row], np.argsort(-utility[row], kind="stable")[:count])


class Ends:
    """A stream whose whole and real numbers of many are the least and the largest that there are, in turn."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.permutation = rng.permutation

    def integers(self, low: int, high: int, shape: Any, dtype: type = np.int64) -> np.ndarray:
        return np.resize(np.array([low, high - 1], dtype=dtype), shape)

    def random(self, shape: Any, dtype: type = np.float64) -> np.ndarray:
        return np.resize(np.array([0, np.nextafter(dtype(1), dtype(0))], dtype=dtype), shape)

    def standard_exponential(self, shape: Any, dtype: type = np.float64) -> np.ndarray:
        return -np.log1p(-self.random(shape, dtype))


def test_no_utility_is_infinite(monkeypatch: pytest.MonkeyPatch) -> None:
    """Exponential variates of exactly 0 gave some items to their users whatever the taste."""
    seen = []
    monkeypatch.setattr(synthetic, "stream", lambda *purpose: Ends(stream(*purpose)))
    monkeypatch.setattr(synthetic, "best", lambda utility, counts: seen.append(utility) or best(utility, counts))
    make()._choices(np.ones((61, 16)), np.ones((41, 16)))
    assert np.isfinite(np.concatenate(seen)).all()
    assert 27 < np.ptp(np.concatenate(seen)) < 30  # Gumbel noise of 32 bits, and popularity


def test_content_moves_the_features_only() -> None:
    with_content, without = make(content=0.9)(), make(content=0.0)()
    assert_array_equal(all_keys(with_content), all_keys(without))
    assert (with_content.features["visual"] != without.features["visual"]).any()


def test_modalities_are_drawn_independently_of_each_other() -> None:
    both, one = make()(), make(modalities={"visual": 7})()
    assert_array_equal(both.features["visual"], one.features["visual"])
    assert_array_equal(all_keys(both), all_keys(one))


def explained_variance(options: SyntheticDataset) -> float:
    """Share of the features' variance that is linear in the planted taste of the item."""
    data, (_, taste, _) = options(), options.tastes()
    visual = data.features["visual"]
    fitted = taste @ np.linalg.lstsq(taste, visual, rcond=None)[0]
    return float((fitted**2).sum() / (visual**2).sum())


@pytest.mark.parametrize(("content", "expected"), [(1.0, 1.0), (0.5, 0.5), (0.0, 0.0)])
def test_content_is_the_share_of_variance_that_is_linear_in_taste(content: float, expected: float) -> None:
    many = {"visual": 800}  # the view's 5 x 800 entries leave a standard deviation of 0.006
    options = make(content=content, num_items=2001, num_users=50, taste_dim=5, spread=1.0, modalities=many)
    assert explained_variance(options) == pytest.approx(expected, abs=1e-5 if content == 1 else 0.04)


def test_features_without_content_do_not_follow_the_choices() -> None:
    """Users' choices tell nothing about noise: co-chosen items are no more alike than any two."""

    def alike(content: float) -> float:
        data = make(content=content, num_users=400, num_items=200, num_interactions=6000, sharpness=8.0)()
        visual = data.features["visual"]
        unit = visual / np.linalg.norm(visual, axis=1, keepdims=True)
        chosen = np.zeros((400, 200))
        chosen[data.train.users, data.train.items] = 1
        together = chosen.T @ chosen
        np.fill_diagonal(together, 0)
        cosines = unit @ unit.T
        return float((together * cosines).sum() / together.sum() - cosines[~np.eye(200, dtype=bool)].mean())

    assert abs(alike(0.0)) < 0.02
    assert alike(1.0) > 0.05


def test_popularity_skews_the_items() -> None:
    flat, skewed = (
        make(popularity=value, sharpness=0.0, num_users=300, num_interactions=3000)().observed for value in (0.0, 2.0)
    )
    assert skewed.item_degree.max() > 2 * flat.item_degree.max()


@pytest.mark.parametrize("count", [182, 61 * 20 + 1])
def test_impossible_numbers_of_interactions_are_refused(count: int) -> None:
    with pytest.raises(ValueError, match=rf"dataset.num_interactions must be between 3 per user and half.*got {count}"):
        make(num_interactions=count)


def test_largest_number_of_interactions_is_reached_with_an_odd_number_of_items() -> None:
    assert len(all_keys(make(num_interactions=61 * 20)())) == 61 * 20


def test_options_are_a_value() -> None:
    assert replace(make(), seed=3) == make(seed=3)


@pytest.mark.parametrize("content", [0.0, 0.5])
def test_modalities_of_equal_width_are_not_copies(content: float) -> None:
    features = make(modalities={"visual": 7, "textual": 7}, num_items=801, content=content)().features
    rows = np.concatenate([features["visual"], features["textual"]], axis=1)
    correlation = np.corrcoef(rows.T)[:7, 7:]
    if content == 0:
        assert np.abs(correlation).max() < 5 / np.sqrt(801)
    assert np.abs(np.diag(correlation)).max() < 0.9


def test_categories_are_the_groups_that_content_follows() -> None:
    """Without an own share of taste and without noise, items of one category have the same features."""
    known, unknown = (make(categories=categories, spread=0.0, content=1.0)() for categories in (True, False))
    assert unknown.categories is None
    assert known.digest != unknown.digest
    for name, matrix in known.features.items():
        assert_array_equal(matrix, unknown.features[name])
        kinds, first, place = np.unique(known.categories, return_index=True, return_inverse=True)
        assert 1 < len(kinds) < len(matrix)
        assert_allclose(matrix, matrix[first][place], rtol=1e-5, atol=1e-6)


def test_planted_frames_show_the_taste_and_modalities_share_their_moments() -> None:
    data = make(num_items=120, content=0.5, frames={"visual": 6, "textual": 6})()
    clips = data.frames["visual"]
    assert set(clips.lengths) == set(range(1, 7))
    assert_array_equal(clips.offsets, data.frames["textual"].offsets)
    assert_array_equal(data.features["visual"], clips.pooled())
    assert_allclose(clips.rows_NX.std(), 1.0, atol=0.1)
    within = [clips.rows_NX[clips.offsets[i] : clips.offsets[i + 1]].var(axis=0).mean() for i in range(120)]
    assert np.mean(within) < 0.5 * clips.rows_NX.var(axis=0).mean(), "frames of one item are alike"
    still = make(num_items=120, content=0.5)()
    assert_array_equal(still.train.keys, data.train.keys)
    assert data.digest != still.digest
    with pytest.raises(ValueError, match=r"dataset\.frames\.acoustic: there is no such modality"):
        make(frames={"acoustic": 3})
