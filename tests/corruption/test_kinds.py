"""What each kind of damage puts in the place of features."""

import math
from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import kstest

from trustmm.corruption import kinds
from trustmm.corruption.kinds import FILLS, MOVES, Kind, moments
from trustmm.corruption.stress import StressTest, damage_rows
from trustmm.dataset.data import TrainData
from trustmm.graph.edges import Edges
from trustmm.graph.neighbours import cosine_neighbours
from trustmm.seeding import stream

KINDS = get_args(Kind)
MOVING = ("permute", "swap_similar")
NUM_ITEMS, WIDTH, NUM_GROUPS = 101, 6, 5
DAMAGE = StressTest(
    kind="permute", eta=0.4, eta_of={}, joint=False, frame_share=0.5, eta_e=0.0, edge_kind="uniform", seed=0
)


def make_rows(num_items: int = NUM_ITEMS, width: int = WIDTH) -> np.ndarray:
    """Columns of different mean and spread."""
    rng = np.random.default_rng(1)
    rows = rng.standard_normal((num_items, width)) * np.geomspace(0.1, 30, width) + np.linspace(-5, 50, width)
    return rows.astype(np.float32)


def planted(per_group: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """Rows near one of five axes, and the axis of each."""
    rng = np.random.default_rng(2)
    group = rng.permutation(np.repeat(np.arange(NUM_GROUPS), per_group))
    rows = np.eye(8)[group] + 0.1 * rng.standard_normal((len(group), 8))
    return rows.astype(np.float32), group


def cosines(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    return (left * right).sum(axis=1) / np.linalg.norm(left, axis=1) / np.linalg.norm(right, axis=1)


def sorted_rows(matrix: np.ndarray) -> np.ndarray:
    return matrix[np.lexsort(matrix.T)]


def test_every_kind_moves_rows_or_makes_them() -> None:
    assert set(KINDS) == set(MOVES) | set(FILLS)
    assert len(KINDS) == len(MOVES) + len(FILLS)


@pytest.mark.parametrize("kind", KINDS)
class TestEveryKind:
    @pytest.mark.parametrize("hundredths", [1, 29, 50, 99, 100])
    def test_exactly_the_chosen_rows_change_and_they_are_those_of_a_permutation(
        self, kind: Kind, hundredths: int
    ) -> None:
        clean = make_rows()
        damaged, touched = damage_rows(clean, hundredths / 100, kind, 0, "visual")
        assert touched.sum() == hundredths * NUM_ITEMS // 100
        assert_array_equal(damaged[~touched], clean[~touched])
        same = touched == damage_rows(clean, hundredths / 100, "permute", 0, "visual")[1]
        assert same.all() or kind == "shift"
        changed = (damaged != clean).any(axis=1).sum()
        assert changed == touched.sum() if kind not in MOVING else changed >= touched.sum() - 5
        assert damaged.dtype == np.float32
        assert damaged.shape == clean.shape

    @pytest.mark.parametrize("share", [0.0, 0.009])
    def test_no_chosen_row_is_the_input_itself(self, kind: Kind, share: float) -> None:
        clean = make_rows()
        damaged, touched = damage_rows(clean, share, kind, 0, "visual")
        assert damaged is clean
        assert not touched.any()

    def test_chosen_items_are_nested_over_eta(self, kind: Kind) -> None:
        masks = [damage_rows(make_rows(), eta, kind, 0, "visual")[1] for eta in (0.1, 0.3, 0.5, 0.9, 1.0)]
        for smaller, larger in zip(masks, masks[1:], strict=False):
            assert (larger | ~smaller).all()

    def test_seeds_and_modalities_draw_apart_and_equal_ones_repeat(self, kind: Kind) -> None:
        clean = make_rows()
        first, again, other_seed, other_name = (
            damage_rows(clean, 0.5, kind, seed, name)[0]
            for seed, name in ((3, "visual"), (3, "visual"), (4, "visual"), (3, "textual"))
        )
        assert_array_equal(first, again)
        assert (first != other_seed).any()
        assert (first != other_name).any()

    def test_input_is_not_modified(self, kind: Kind) -> None:
        clean = make_rows()
        before = clean.copy()
        for share in (0.5, 1.0):
            damage_rows(clean, share, kind, 0, "visual")
        assert_array_equal(clean, before)

    def test_modalities_are_damaged_each_for_itself(self, kind: Kind) -> None:
        edges = Edges.of([0, 1], [0, 1], 2, NUM_ITEMS)
        train = TrainData(edges, edges, {"visual": make_rows(), "textual": make_rows(width=3)})
        damaged, damage = replace(DAMAGE, kind=kind, eta_of={"textual": 0.0})(train, observed=edges)
        assert damaged.features["textual"] is train.features["textual"]
        assert damage.touched["visual"].sum() == 40
        expected, _ = damage_rows(train.features["visual"], 0.4, kind, 0, "visual")
        assert_array_equal(damaged.features["visual"], expected)

    def test_identity_names_the_kind_only_where_features_are_damaged(self, kind: Kind) -> None:
        stress, paper = replace(DAMAGE, kind=kind), DAMAGE
        assert (stress.identity() == paper.identity()) == (kind == "permute")
        for change in ({"eta": 0.0}, {"eta": 0.0, "eta_e": -0.1}):
            assert replace(stress, **change).identity() == replace(paper, **change).identity()
        only_one = {"eta": 0.0, "eta_of": {"visual": 0.1}}
        equal = replace(stress, **only_one).identity() == replace(paper, **only_one).identity()
        assert equal == (kind == "permute")


def test_identity_of_the_papers_kind_is_what_it_was_without_kinds() -> None:
    assert DAMAGE.identity() == {"eta": 0.4, "eta_of": {}, "eta_e": 0.0, "seed": 0}


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in MOVING])
def test_an_item_gets_the_same_row_at_every_eta(kind: Kind) -> None:
    clean = make_rows()
    found = [damage_rows(clean, eta, kind, 0, "visual") for eta in (0.1, 0.5, 1.0)]
    for (fewer, touched), (more, _) in zip(found, found[1:], strict=False):
        assert_array_equal(fewer[touched], more[touched])


@pytest.mark.parametrize("kind", MOVING)
def test_moved_rows_are_the_rows_of_the_chosen_items(kind: Kind) -> None:
    clean, _ = planted()
    damaged, touched = damage_rows(clean, 0.37, kind, 0, "visual")
    assert_array_equal(sorted_rows(damaged[touched]), sorted_rows(clean[touched]))


def test_permute_is_what_it_was_before_there_were_kinds() -> None:
    clean = make_rows()
    chosen = stream(5, "corruption", "features", "visual").permutation(NUM_ITEMS)[:30]
    expected = clean.copy()
    expected[chosen] = clean[chosen[stream(5, "corruption", "order", "visual").permutation(30)]]
    assert_array_equal(damage_rows(clean, 0.3, "permute", 5, "visual")[0], expected)


def test_constant_rows_are_the_mean_of_all_rows() -> None:
    clean = make_rows()
    damaged, touched = damage_rows(clean, 0.3, "constant", 0, "visual")
    expected = np.broadcast_to(clean.mean(axis=0, dtype=np.float64), (touched.sum(), WIDTH))
    assert_allclose(damaged[touched], expected, rtol=1e-6)
    assert len(np.unique(damaged[touched], axis=0)) == 1


def test_missing_rows_are_zero_and_have_no_edge_in_an_item_graph() -> None:
    clean = make_rows()
    damaged, touched = damage_rows(clean, 0.3, "missing", 0, "visual")
    assert not damaged[touched].any()
    rows, columns, _ = cosine_neighbours(damaged, k=5).entries()
    assert not touched[rows].any()
    assert not touched[columns].any()
    assert set(rows.tolist()) == set(np.flatnonzero(~touched))


@pytest.mark.parametrize("block", [kinds.BLOCK, 7, 101])
def test_moments_equal_numpy(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kinds, "BLOCK", block)
    rows = make_rows() + np.float32(1e4)
    mean, deviation = moments(rows)
    assert_allclose(mean, rows.mean(axis=0, dtype=np.float64), rtol=1e-6)
    assert_allclose(deviation, rows.std(axis=0, dtype=np.float64), rtol=1e-6)


def test_normal_rows_have_the_moments_of_the_clean_columns() -> None:
    clean = make_rows(4000)
    damaged, touched = damage_rows(clean, 0.5, "normal", 0, "visual")
    drawn, count = damaged[touched].astype(np.float64), 2000
    mean, deviation = clean.mean(axis=0, dtype=np.float64), clean.std(axis=0, dtype=np.float64)
    z = (drawn - mean) / deviation
    assert np.abs(z.mean(axis=0)).max() < 4 / math.sqrt(count)  # standard error of a mean: 1 / sqrt(n)
    assert np.abs(z.var(axis=0) - 1).max() < 4 * math.sqrt(2 / count)  # of a variance: sqrt(2 / n)
    off_diagonal = np.corrcoef(z.T) - np.eye(WIDTH)
    assert np.abs(off_diagonal).max() < 4 / math.sqrt(count)  # of a correlation: 1 / sqrt(n)
    assert kstest(z.ravel(), "norm").pvalue > 0.001


def test_normal_rows_do_not_follow_the_items() -> None:
    clean = make_rows(4000)
    damaged, _ = damage_rows(clean, 1.0, "normal", 0, "visual")
    correlation = [np.corrcoef(clean[:, column], damaged[:, column])[0, 1] for column in range(WIDTH)]
    assert np.abs(correlation).max() < 4 / math.sqrt(4000)


def test_a_column_without_spread_stays_what_it_is() -> None:
    clean = make_rows()
    clean[:, 2] = 7
    damaged, _ = damage_rows(clean, 1.0, "normal", 0, "visual")
    assert_array_equal(damaged[:, 2], np.full(NUM_ITEMS, 7, dtype=np.float32))


@pytest.mark.parametrize("eta", [0.3, 1.0])
def test_similar_items_swap_within_planted_groups_and_hardly_any_keeps_its_row(eta: float) -> None:
    clean, group = planted()
    damaged, touched = damage_rows(clean, eta, "swap_similar", 0, "visual")
    nearest_axis = damaged[:, :NUM_GROUPS].argmax(axis=1)
    assert_array_equal(nearest_axis, group)
    kept = (damaged[touched] == clean[touched]).all(axis=1)
    num_clusters = math.isqrt(len(clean))
    assert kept.sum() <= num_clusters  # at most the only chosen one of a cluster
    assert kept.mean() < 0.1


def test_a_plausible_mismatch_is_closer_to_the_truth_than_a_permutation() -> None:
    clean, _ = planted()
    swapped, touched = damage_rows(clean, 0.5, "swap_similar", 0, "visual")
    permuted, _ = damage_rows(clean, 0.5, "permute", 0, "visual")
    assert cosines(swapped, clean)[touched].min() > 0.5
    assert cosines(swapped, clean)[touched].mean() > cosines(permuted, clean)[touched].mean() + 0.5


def test_a_single_chosen_item_keeps_its_row() -> None:
    clean, _ = planted()
    damaged, touched = damage_rows(clean, 0.005, "swap_similar", 0, "visual")
    assert touched.sum() == 1
    assert_array_equal(damaged, clean)


def test_clusters_do_not_depend_on_eta() -> None:
    """Of two chosen items of one cluster, each is in the other's circle at every larger eta."""
    clean, _ = planted()
    marked = np.concatenate([clean, np.zeros((len(clean), 1), dtype=np.float32)], axis=1)
    marked[:, -1] = np.arange(len(clean)) * 1e-6  # tells whose row it is
    circles = []
    for eta in (0.4, 1.0):
        damaged, _ = damage_rows(marked, eta, "swap_similar", 0, "visual")
        source = np.rint(damaged[:, -1] * 1e6).astype(int)
        circle, place = np.arange(len(clean)), source
        for _ in range(len(clean)):
            circle, place = np.minimum(circle, place), source[place]
        circles.append(circle)
    small, large = circles
    together = (small[:, None] == small) & ~np.eye(len(clean), dtype=bool)
    assert together.any()
    assert (large[:, None] == large)[together].all()


def test_rows_without_content_swap_among_themselves() -> None:
    clean, group = planted()
    clean[:20] = 0
    damaged, _ = damage_rows(clean, 1.0, "swap_similar", 0, "visual")
    assert not damaged[:20].any()
    assert_array_equal(damaged[20:, :NUM_GROUPS].argmax(axis=1), group[20:])


def test_replaced_rows_are_others_drawn_with_duplicates() -> None:
    clean = np.arange(400, dtype=np.float32)[:, None]
    damaged, touched = damage_rows(clean, 0.5, "replace", 0, "visual")
    given = damaged[touched, 0].astype(int)
    assert (given != np.flatnonzero(touched)).all()
    assert set(given.tolist()) <= set(range(400))
    # Of 200 uniform draws from 400 rows 400 (1 - e^-0.5) = 157 differ, with a standard deviation below 6.
    assert abs(len(np.unique(given)) - 157) < 5 * 6
    assert touched[given].any()
    assert not touched[given].all()


def test_shift_damages_whole_clusters_first() -> None:
    clean, _ = planted()
    label = kinds.cosine_clusters(clean, math.isqrt(len(clean)), np.random.default_rng(0))
    counts = []
    for kind in ("shift", "permute"):
        _, touched = damage_rows(clean, 0.3, kind, 0, "visual")
        share = np.bincount(label[touched], minlength=label.max() + 1) / np.bincount(label, minlength=label.max() + 1)
        counts.append(np.minimum(share, 1 - share).mean())
    assert counts[0] < 0.6 * counts[1]


def test_shift_draws_its_clusters_with_the_seed() -> None:
    clean, _ = planted()
    first, other = (damage_rows(clean, 0.2, "shift", seed, "visual")[1] for seed in (0, 1))
    assert (first != other).any()
