"""The stress test: exact counts, paired draws, untouched rest."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from scipy.stats import chisquare

from trustmm.corruption.stress import Damage, StressTest, damage_rows
from trustmm.dataset.data import TrainData
from trustmm.graph import free_pairs as drawing
from trustmm.graph.edges import Edges
from trustmm.graph.free_pairs import free_pairs
from trustmm.seeding import stream

PROPERTY = settings(derandomize=True, deadline=None, max_examples=40, database=None)
NUM_USERS, NUM_ITEMS = 17, 29
CLEAN = StressTest(
    kind="permute", eta=0.0, eta_of={}, joint=False, frame_share=0.5, eta_e=0.0, edge_kind="uniform", seed=0
)


def make_data(seed: int = 0, num_items: int = NUM_ITEMS) -> tuple[TrainData, Edges]:
    """Training data, and the pairs of all splits."""
    rng = np.random.default_rng(seed)
    keys = np.sort(rng.permutation(NUM_USERS * num_items)[:150])
    train = Edges.from_keys(np.sort(rng.permutation(keys)[:103]), NUM_USERS, num_items)
    widths = {"visual": 5, "textual": 3}
    features = {name: rng.standard_normal((num_items, width)).astype(np.float32) for name, width in widths.items()}
    return TrainData(train, train, features), Edges.from_keys(keys, NUM_USERS, num_items)


def corrupt(train: TrainData, observed: Edges, **changes: Any) -> tuple[TrainData, Damage]:
    return replace(CLEAN, **changes)(train, observed=observed)


def sorted_rows(matrix: np.ndarray) -> np.ndarray:
    return matrix[np.lexsort(matrix.T)]


@pytest.mark.parametrize("seed", [0, 1])
def test_eta_zero_is_the_input_itself(seed: int) -> None:
    train, observed = make_data()
    same, damage = corrupt(train, observed, seed=seed)
    for name, matrix in train.features.items():
        assert same.features[name] is matrix
        assert not damage.touched[name].any()
    assert same.supervision is train.supervision
    assert same.propagation is train.propagation
    assert len(damage.added) == len(damage.deleted) == 0


@PROPERTY
@given(hundredths=st.integers(0, 100), seed=st.integers(0, 99))
def test_features_are_permuted_among_exactly_the_chosen_items(hundredths: int, seed: int) -> None:
    train, observed = make_data()
    damaged, damage = corrupt(train, observed, eta=hundredths / 100, seed=seed)
    for name, clean in train.features.items():
        touched = damage.touched[name]
        assert touched.sum() == hundredths * NUM_ITEMS // 100
        assert_array_equal(damaged.features[name][~touched], clean[~touched])
        assert_array_equal(sorted_rows(damaged.features[name][touched]), sorted_rows(clean[touched]))
        assert damaged.features[name].dtype == np.float32


def test_most_chosen_items_really_move() -> None:
    train, observed = make_data()
    damaged, _ = corrupt(train, observed, eta=1.0)
    for name, clean in train.features.items():
        moved = (damaged.features[name] != clean).any(axis=1)
        assert moved.sum() >= NUM_ITEMS - 6


def test_permutation_is_uniform_over_all_orders() -> None:
    rows = np.arange(3, dtype=np.float32)[:, None]
    orders = [tuple(damage_rows(rows, 1.0, "permute", seed, "visual")[0][:, 0].astype(int)) for seed in range(600)]
    counts = [orders.count(order) for order in set(orders)]
    assert len(counts) == 6
    assert chisquare(counts).pvalue > 0.001


def test_every_item_is_chosen_equally_often() -> None:
    rows = np.zeros((7, 1), dtype=np.float32)
    counts = sum(damage_rows(rows, 0.43, "permute", seed, "visual")[1].astype(int) for seed in range(700))
    assert counts.sum() == 3 * 700
    assert np.abs(counts - 300).max() < 5 * math.sqrt(700 * 3 / 7 * 4 / 7)


def test_touched_items_are_nested_over_eta() -> None:
    train, observed = make_data()
    masks = [corrupt(train, observed, eta=eta)[1].touched for eta in (0.1, 0.2, 0.5, 0.77, 1.0)]
    for smaller, larger in zip(masks, masks[1:], strict=False):
        for name in train.features:
            assert (larger[name] | ~smaller[name]).all()
            assert larger[name].sum() > smaller[name].sum()


@pytest.mark.parametrize("kind", ["permute", "replace", "shift", "swap_similar"])
def test_joint_damage_touches_the_same_items_in_all_modalities(kind: str) -> None:
    train, observed = make_data(num_items=200)
    for eta, count in ((0.1, 20), (0.5, 100)):
        damaged, damage = corrupt(train, observed, eta=eta, kind=kind, joint=True)
        assert damage.touched["visual"].sum() == count
        assert_array_equal(damage.touched["visual"], damage.touched["textual"])
        untouched = ~damage.touched["visual"]
        assert_array_equal(damaged.features["textual"][untouched], train.features["textual"][untouched])
    _, apart = corrupt(train, observed, eta=0.5, kind=kind)
    assert (apart.touched["visual"] != apart.touched["textual"]).any()


def test_joint_damage_is_nested_over_eta_and_of_single_modalities() -> None:
    train, observed = make_data(num_items=200)
    masks = [corrupt(train, observed, eta=eta, joint=True)[1].touched["visual"] for eta in (0.1, 0.4, 0.9)]
    assert all((larger | ~smaller).all() for smaller, larger in zip(masks, masks[1:], strict=False))
    _, one = corrupt(train, observed, eta=0.4, eta_of={"visual": 0.1}, joint=True)
    assert (one.touched["textual"] | ~one.touched["visual"]).all()
    same, _ = corrupt(train, observed, joint=True)
    assert all(same.features[name] is matrix for name, matrix in train.features.items())


def test_eta_of_changes_only_the_named_modality() -> None:
    train, observed = make_data()
    damaged, damage = corrupt(train, observed, eta_of={"visual": 0.5})
    assert damaged.features["textual"] is train.features["textual"]
    assert damage.touched["visual"].sum() == 14
    assert damage.eta == {"visual": 0.5, "textual": 0.0}
    assert damaged.supervision is train.supervision


def test_eta_of_zero_shields_one_modality() -> None:
    train, observed = make_data()
    damaged, damage = corrupt(train, observed, eta=0.3, eta_of={"visual": 0.0})
    assert damaged.features["visual"] is train.features["visual"]
    assert damage.touched["textual"].sum() == 8


def test_one_modality_draws_the_same_whatever_happens_to_the_others() -> None:
    train, observed = make_data()
    both, first = corrupt(train, observed, eta=0.4)
    alone, second = corrupt(train, observed, eta_of={"visual": 0.4}, eta_e=-0.2)
    assert_array_equal(first.touched["visual"], second.touched["visual"])
    assert_array_equal(both.features["visual"], alone.features["visual"])


def test_modalities_draw_independently() -> None:
    train, observed = make_data(num_items=400)
    _, damage = corrupt(train, observed, eta=0.5)
    common = (damage.touched["visual"] & damage.touched["textual"]).sum()
    assert abs(common - 100) < 5 * math.sqrt(400 / 16)


def test_seeds_change_the_draw_and_equal_seeds_repeat_it() -> None:
    train, observed = make_data()
    first, again, other = (corrupt(train, observed, eta=0.5, eta_e=0.2, seed=seed) for seed in (3, 3, 4))
    assert_array_equal(first[0].features["visual"], again[0].features["visual"])
    assert_array_equal(first[0].supervision.keys, again[0].supervision.keys)
    assert (first[1].touched["visual"] != other[1].touched["visual"]).any()
    assert not np.array_equal(first[1].added.keys, other[1].added.keys)


def test_unknown_modality_is_refused_by_name() -> None:
    train, observed = make_data()
    with pytest.raises(ValueError, match=r"corruption.eta_of.audio: the dataset has no such modality.*textual.*visual"):
        corrupt(train, observed, eta_of={"audio": 0.1})


@PROPERTY
@given(hundredths=st.integers(1, 99), seed=st.integers(0, 99))
def test_deletion_removes_exactly_the_asked_share_of_training_edges(hundredths: int, seed: int) -> None:
    train, observed = make_data()
    damaged, damage = corrupt(train, observed, eta_e=-hundredths / 100, seed=seed)
    kept, lost = damaged.supervision, damage.deleted
    assert len(lost) == hundredths * 103 // 100
    assert len(damage.added) == 0
    assert_array_equal(np.sort(np.concatenate([kept.keys, lost.keys])), train.supervision.keys)
    assert damaged.propagation is damaged.supervision
    assert all(damaged.features[name] is matrix for name, matrix in train.features.items())


@pytest.mark.parametrize("enumerate_up_to", [drawing.ENUMERATE, 0])
@pytest.mark.parametrize("hundredths", [1, 29, 58, 100])
def test_addition_draws_exactly_the_asked_number_of_unobserved_pairs(
    hundredths: int, enumerate_up_to: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drawing, "ENUMERATE", enumerate_up_to)
    train, observed = make_data()
    damaged, damage = corrupt(train, observed, eta_e=hundredths / 100)
    assert len(damage.added) == hundredths * 103 // 100
    assert len(np.unique(damage.added.keys)) == len(damage.added)
    assert not observed.contains(damage.added.keys).any()
    assert_array_equal(damaged.supervision.keys, np.union1d(train.supervision.keys, damage.added.keys))
    assert len(damaged.supervision) == 103 + len(damage.added)
    assert len(damage.deleted) == 0
    assert damaged.propagation is damaged.supervision


@pytest.mark.parametrize("enumerate_up_to", [drawing.ENUMERATE, 0])
@pytest.mark.parametrize("draw", [drawing.DRAW, 13])
def test_noise_of_growing_ratios_is_nested(enumerate_up_to: int, draw: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawing, "ENUMERATE", enumerate_up_to)
    monkeypatch.setattr(drawing, "DRAW", draw)
    train, observed = make_data()
    added = [corrupt(train, observed, eta_e=eta)[1].added for eta in (0.1, 0.3, 0.9)]
    deleted = [corrupt(train, observed, eta_e=-eta)[1].deleted for eta in (0.1, 0.3, 0.9)]
    for sets in (added, deleted):
        for smaller, larger in zip(sets, sets[1:], strict=False):
            assert larger.contains(smaller.keys).all()
            assert len(larger) > len(smaller)


@pytest.mark.parametrize("enumerate_up_to", [drawing.ENUMERATE, 0])
def test_added_pairs_are_uniform_over_the_unobserved(enumerate_up_to: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawing, "ENUMERATE", enumerate_up_to)
    observed = Edges.of([0, 0, 1, 2, 2], [0, 1, 3, 2, 4], 3, 5)
    counts = np.zeros(15)
    for seed in range(600):
        counts[free_pairs(observed, 3, stream(seed, "uniform")).keys] += 1
    free = ~observed.contains(np.arange(15))
    assert counts[~free].sum() == 0
    expected = 600 * 3 / free.sum()
    assert np.abs(counts[free] - expected).max() < 4.5 * math.sqrt(expected * (1 - 3 / free.sum()))
    assert chisquare(counts[free]).pvalue > 0.001


@pytest.mark.parametrize("enumerate_up_to", [drawing.ENUMERATE, 0])
def test_all_free_pairs_can_be_added_but_not_one_more(enumerate_up_to: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawing, "ENUMERATE", enumerate_up_to)
    observed = Edges.of([0, 0, 1], [0, 1, 2], 2, 3)
    assert_array_equal(free_pairs(observed, 3, stream(0, "all")).keys, [2, 3, 4])
    four = Edges.of([0, 0, 1, 1], [0, 1, 0, 1], 2, 3)
    with pytest.raises(ValueError, match="corruption.eta_e asks for 4 new pairs, but only 3 are unobserved"):
        replace(CLEAN, eta_e=1.0)(TrainData(four, four, {}), observed=observed)


def test_edges_are_deleted_uniformly() -> None:
    edges = Edges.of([0, 0, 1, 2, 2, 2, 3], [0, 1, 1, 0, 2, 3, 3], 4, 4)
    train = TrainData(edges, edges, {})
    lost = np.zeros(16)
    for seed in range(700):
        lost[corrupt(train, edges, eta_e=-0.29, seed=seed)[1].deleted.keys] += 1
    assert lost.sum() == 2 * 700
    assert chisquare(lost[edges.keys]).pvalue > 0.001


def test_inputs_are_never_modified() -> None:
    train, observed = make_data()
    features = {name: matrix.copy() for name, matrix in train.features.items()}
    keys, all_keys = train.supervision.keys.copy(), observed.keys.copy()
    for eta_e in (-0.5, 0.5):
        corrupt(train, observed, eta=0.5, eta_e=eta_e)
    for name, matrix in features.items():
        assert_array_equal(train.features[name], matrix)
    assert_array_equal(train.supervision.keys, keys)
    assert_array_equal(observed.keys, all_keys)


def test_identity_ignores_the_seed_only_without_damage() -> None:
    first, second = (replace(CLEAN, seed=seed).identity() for seed in (0, 7))
    assert first == second
    for change in ({"eta": 0.1}, {"eta_of": {"visual": 0.1}}, {"eta_e": -0.1}, {"eta_e": 0.1}):
        first, second = (replace(CLEAN, seed=seed, **change).identity() for seed in (0, 7))
        assert first != second
        assert first != CLEAN.identity()
    shielded = replace(CLEAN, eta=0.2, eta_of={"visual": 0.0})
    assert shielded.identity() != replace(CLEAN, eta=0.2).identity()


def test_identity_ignores_a_modality_set_to_eta_again() -> None:
    assert replace(CLEAN, eta_of={"visual": 0}).identity() == CLEAN.identity()
    again = replace(CLEAN, eta=0.2, eta_of={"visual": 0.2})
    assert again.identity() == replace(CLEAN, eta=0.2).identity()


@pytest.mark.parametrize(
    ("eta", "eta_of", "same"),
    [
        (0.3, {"visual": 0.2, "textual": 0.2}, (0.2, {})),
        (0.3, {"visual": 0, "textual": 0.0}, (0, {})),
        (0.3, {"visual": 0.3}, (0.3, {})),
        (0.3, {"visual": 0.0}, (0.0, {"textual": 0.3})),
        (0.0, {"visual": 0.1, "textual": 0.4}, (0.1, {"textual": 0.4})),
        (0.9, {"visual": 0.1, "textual": 0.4}, (0.1, {"textual": 0.4})),
    ],
)
def test_one_damage_is_one_identity_however_it_was_typed(eta: float, eta_of: dict, same: tuple) -> None:
    typed = replace(CLEAN, eta=eta, eta_of=eta_of)
    settled = typed.settled(("textual", "visual"))
    assert settled.identity() == replace(CLEAN, eta=same[0], eta_of=same[1]).identity()
    train, observed = make_data()
    for name, features in typed(train, observed=observed)[0].features.items():
        assert_array_equal(settled(train, observed=observed)[0].features[name], features)


def test_settling_keeps_what_it_cannot_judge() -> None:
    unknown = replace(CLEAN, eta=0.3, eta_of={"audio": 0.2})
    assert unknown.settled(()) is unknown
    assert unknown.settled(("visual",)).eta_of["audio"] == 0.2
    assert replace(CLEAN, eta=0.3).settled(("visual",)).identity() == replace(CLEAN, eta=0.3).identity()
