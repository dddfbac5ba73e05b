"""Diagnostics with known answers."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from trustmm.corruption.stress import Damage
from trustmm.evaluation.separation import auc, gini
from trustmm.graph.edges import Edges
from trustmm.rectifier import diagnostics
from trustmm.rectifier.diagnostics import overlap, repair_diagnostics, row_cosine
from trustmm.rectifier.mr import Repair

CPU = torch.device("cpu")
NUM_ITEMS = 31
NO_EDGES = Edges.from_keys(np.empty(0, dtype=np.int64), 3, NUM_ITEMS)


def make_repair(**changes: object) -> Repair:
    rng = np.random.default_rng(0)
    values = {
        name: rng.random(NUM_ITEMS)
        for name in ("alignment", "diagonal", "row_mass", "column_mass", "column_mass_row_norm")
    }
    return Repair(
        **(
            values
            | {
                "rho": np.array(0.7),
                "eta_hat": np.array(0.2),
                "eta_hat_error": np.array(0.03),
                "num_sweeps": np.array(50),
            }
            | changes
        )
    )


def make_damage(touched: np.ndarray) -> Damage:
    return Damage({"visual": 0.3}, {"visual": touched}, NO_EDGES, NO_EDGES)


def test_overlap_is_the_mean_share_of_common_entries() -> None:
    left, right = torch.tensor([[0, 1, 2], [3, 4, 5]]), torch.tensor([[2, 1, 9], [6, 7, 3]])
    assert overlap(left, right) == pytest.approx((2 / 3 + 1 / 3) / 2)
    assert np.isnan(overlap(left[:, :0], right[:, :0]))


def test_row_cosine_is_the_mean_over_the_rows_with_zero_rows_as_zero() -> None:
    rng = np.random.default_rng(0)
    left, right = rng.standard_normal((2, 5000, 3)).astype(np.float32)
    left[7] = 0
    rows = np.arange(0, 5000, 1)
    lengths = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
    expected = np.divide((left * right).sum(1), lengths, out=np.zeros(5000, "f4"), where=lengths > 0)
    assert row_cosine(left, right, rows) == pytest.approx(expected.mean(), abs=1e-5)
    assert row_cosine(left, right, np.array([7])) == 0
    assert row_cosine(left, left, np.array([1, 2])) == pytest.approx(1)


def brute_neighbours(features: np.ndarray, rows: np.ndarray, k: int) -> list[set[int]]:
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    similarity = unit @ unit.T
    np.fill_diagonal(similarity, -np.inf)
    return [set(np.argsort(-similarity[row])[:k].tolist()) for row in rows]


def test_table_has_every_group_and_the_numbers_of_the_plan() -> None:
    rng = np.random.default_rng(1)
    clean, observed, rectified = rng.standard_normal((3, NUM_ITEMS, 8)).astype(np.float32)
    touched, cold = np.arange(NUM_ITEMS) < 10, np.arange(NUM_ITEMS) % 7 == 0
    repair = make_repair()

    table = repair_diagnostics(
        {"visual": clean},
        {"visual": observed},
        {"visual": rectified},
        {"visual": repair},
        make_damage(touched),
        cold,
        device=CPU,
    )

    groups = {"touched": touched & ~cold, "untouched": ~touched & ~cold, "cold": cold}
    for group, members in groups.items():
        rows = np.flatnonzero(members)
        assert table[f"visual/{group}/items"] == len(rows)
        assert table[f"visual/{group}/anchor_cosine"] == pytest.approx(repair.alignment[rows].mean())
        assert table[f"visual/{group}/diagonal"] == pytest.approx(repair.diagonal[rows].mean())
        for name, matrix in (("observed", observed), ("rectified", rectified)):
            assert table[f"visual/{group}/{name}_to_clean"] == pytest.approx(row_cosine(matrix, clean, rows))
            pairs = zip(brute_neighbours(matrix, rows, 10), brute_neighbours(clean, rows, 10), strict=True)
            expected = np.mean([len(left & right) / 10 for left, right in pairs])
            assert table[f"visual/{group}/{name}_knn_overlap"] == pytest.approx(expected)
    assert table["visual/rho"] == 0.7
    assert table["visual/eta_hat"] == 0.2
    assert table["visual/eta_hat_error"] == 0.03
    assert table["visual/num_sweeps"] == 50
    expected = auc(*(repair.alignment[groups[name]] for name in ("touched", "untouched")))
    assert table["visual/touched_auc"] == pytest.approx(expected)
    assert table["visual/row_error_max"] == pytest.approx(np.abs(repair.row_mass - 1).max())
    assert table["visual/column_error_mean"] == pytest.approx(np.abs(repair.column_mass - 1).mean())
    assert table["visual/rows_below_half"] == pytest.approx((repair.row_mass < 0.5).mean())
    assert table["visual/hub_max"] == pytest.approx(repair.column_mass.max())
    assert table["visual/hub_gini_row_norm"] == pytest.approx(gini(repair.column_mass_row_norm))
    assert all(isinstance(value, float) for value in table.values())


def test_rows_left_alone_are_those_with_nearly_all_their_own_mass() -> None:
    diagonal = np.linspace(0, 1, NUM_ITEMS)
    features = {"visual": np.eye(NUM_ITEMS, dtype=np.float32)}
    table = repair_diagnostics(
        features, features, features, {"visual": make_repair(diagonal=diagonal)},
        make_damage(np.zeros(NUM_ITEMS, bool)), np.zeros(NUM_ITEMS, bool), device=CPU,
    )  # fmt: skip
    assert table["visual/rows_left_alone"] == pytest.approx(1 / NUM_ITEMS)


def test_a_perfect_repair_scores_one_and_empty_groups_are_left_out() -> None:
    clean = np.random.default_rng(2).standard_normal((NUM_ITEMS, 8)).astype(np.float32)
    touched = np.arange(NUM_ITEMS) < 10
    observed = clean.copy()
    observed[:10] = np.roll(clean[:10], 1, axis=0)
    table = repair_diagnostics(
        {"visual": clean}, {"visual": observed}, {"visual": clean}, {"visual": make_repair()}, make_damage(touched),
        np.zeros(NUM_ITEMS, bool), device=CPU,
    )  # fmt: skip
    assert table["visual/touched/rectified_to_clean"] == pytest.approx(1)
    assert table["visual/touched/rectified_knn_overlap"] == 1
    assert table["visual/touched/observed_to_clean"] < 0.5
    assert table["visual/touched/observed_knn_overlap"] < 0.7
    assert not any("/cold/" in name for name in table)


def test_modalities_without_a_report_are_left_out() -> None:
    features = {"visual": np.eye(NUM_ITEMS, dtype=np.float32)}
    nobody = np.zeros(NUM_ITEMS, bool)
    assert repair_diagnostics(features, features, features, {}, make_damage(nobody), nobody, device=CPU) == {}


def test_neighbours_exclude_the_item_itself_also_among_duplicates_and_zero_rows() -> None:
    features = np.random.default_rng(3).standard_normal((NUM_ITEMS, 4)).astype(np.float32)
    features[5:20] = features[5]
    features[25:] = 0
    found = diagnostics._neighbour_sets(features, np.arange(NUM_ITEMS), CPU)
    assert found.shape == (NUM_ITEMS, 10)
    for row, neighbours in enumerate(found.tolist()):
        assert row not in neighbours
        assert len(set(neighbours)) == 10


def test_fewer_items_than_neighbours_still_compare() -> None:
    features = np.random.default_rng(4).standard_normal((4, 3)).astype(np.float32)
    found = diagnostics._neighbour_sets(features, np.arange(4), CPU)
    assert_array_equal(np.sort(found.numpy(), axis=1), [[1, 2, 3], [0, 2, 3], [0, 1, 3], [0, 1, 2]])


def test_large_groups_are_sampled_for_neighbours_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diagnostics, "SAMPLE", 3)
    features = {"visual": np.random.default_rng(5).standard_normal((NUM_ITEMS, 8)).astype(np.float32)}
    nobody = np.zeros(NUM_ITEMS, bool)
    table = repair_diagnostics(
        features, features, features, {"visual": make_repair()}, make_damage(nobody), nobody, device=CPU
    )
    assert table["visual/untouched/items"] == NUM_ITEMS
    assert table["visual/untouched/observed_knn_overlap"] == 1
    assert_allclose(table["visual/untouched/anchor_cosine"], make_repair().alignment.mean())
