"""What makes a cell of its own, and which cells are compared."""

from collections.abc import Iterator
from functools import reduce
from typing import Any

import pytest

from tests.report.conftest import Sweep, make_summary
from trustmm.report.runs.cells import axes_of, cells, draw_of, exact, plain
from trustmm.report.runs.order import in_order
from trustmm.report.runs.read import read_sweeps
from trustmm.report.table.paper import table2
from trustmm.report.table.study import contrasts, difference_table, robustness_table
from trustmm.store.job_folder import write_result

R10 = "test/recall@10"


def test_a_modality_spared_is_another_condition(sweep: Sweep) -> None:
    sweep.add(0.1, eta=0.2)
    sweep.add(0.2, eta=0.2, eta_of={"textual": 0})
    runs = read_sweeps([sweep.folder])
    assert not runs.superseded
    found = cells(runs.table, axes_of(runs.table), R10)
    assert [(plain(cell.values["corruption.eta_of"]), cell.interval.estimate) for cell in found] == [
        ("", pytest.approx(0.1)),
        ("textual=0", pytest.approx(0.2)),
    ]


def test_an_option_set_to_nothing_is_another_condition(sweep: Sweep) -> None:
    for rate, value in ((None, 0.1), (0.9, 0.3)):
        sweep.add(value, learning_rate=rate)
    table = read_sweeps([sweep.folder]).table
    assert axes_of(table) == ["training.learning_rate"]
    assert [cell.interval.estimate for cell in cells(table, axes_of(table), R10)] == [0.1, 0.3]


def leaves(node: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for key, value in node.items():
        yield from leaves(value, (*path, key)) if isinstance(value, dict) and value else [(*path, key)]


CELL = {"rectifier": "mr", "edit": "both", "op": "complete", "eta": 0.2, "eta_of": {"textual": 0.1}, "eta_e": 0.1}
OPTIONS = make_summary(0.1, CELL | {"kind": "normal"})["options"]
SCIENCE = [path for path in leaves(OPTIONS) if path not in (("_target_",), ("corruption", "seed"))]


@pytest.mark.parametrize("path", SCIENCE, ids=".".join)
def test_two_jobs_with_different_options_are_two_cells(path: tuple[str, ...], sweep: Sweep) -> None:
    """Whatever the option: the class of an optimiser, a share in its last digit."""
    *parents, key = path
    for place in (0, 1):
        summary = make_summary(0.1 + place, CELL | {"kind": "normal"})
        node = reduce(lambda inner, name: inner[name], parents, summary["options"])
        value = node[key]
        if place:
            node[key] = (
                value + 1e-9 if isinstance(value, float) else value + 1 if isinstance(value, int) else f"{value}x"
            )
        summary["job_id"] = f"{place}" * 16
        write_result(sweep.outputs / summary["job_id"], summary, {})
        sweep.record(f"cell={place}", summary["job_id"])
    runs = read_sweeps([sweep.folder])
    assert not runs.superseded
    assert len(cells(runs.table, axes_of(runs.table), R10)) == 2


def test_two_optimisers_are_two_cells_with_their_names(sweep: Sweep) -> None:
    for name, value in (("adam.Adam", 0.1), ("adamw.AdamW", 0.2)):
        for seed in (0, 1):
            sweep.add(value, optimizer=f"torch.optim.{name}", seed=seed)
    table = read_sweeps([sweep.folder]).table
    found = cells(table, axes_of(table), R10)
    assert [(cell.values["training.optimizer._target_"], len(cell.by_seed)) for cell in found] == [
        ("torch.Adam", 2),
        ("torch.AdamW", 2),
    ]


def test_how_many_users_are_scored_at_once_is_no_condition(sweep: Sweep) -> None:
    sweep.add(0.1, seed=0, batch_size=256, code="older" * 6)
    sweep.add(0.3, seed=1)
    table = read_sweeps([sweep.folder]).table
    assert axes_of(table) == []
    assert [cell.interval.estimate for cell in cells(table, [], R10)] == [pytest.approx(0.2)]


def test_an_option_that_only_one_operation_has_tells_no_cells_apart(sweep: Sweep) -> None:
    for op in ("prune", "complete"):
        sweep.add(0.1, edit="both", op=op)
    assert axes_of(read_sweeps([sweep.folder]).table) == ["edit.op"]


@pytest.mark.parametrize(
    ("value", "shown", "key"),
    [
        (20240101, "20240101", "20240101"),
        (20240101.0, "20240101", "20240101"),
        (0.20, "0.2", "0.2"),
        (0.12345678, "0.123457", "0.12345678"),
        (None, "", ""),
        (True, "True", "True"),
        ("mr", "mr", "mr"),
    ],
)
def test_values_are_shown_short_and_told_apart_exactly(value: object, shown: str, key: str) -> None:
    assert (plain(value), exact(value)) == (shown, key)


def test_whole_numbers_of_a_table_are_sorted_as_numbers(sweep: Sweep) -> None:
    for rate in (1024, 2048, 512):
        sweep.add(0.1, learning_rate=rate)
    column = read_sweeps([sweep.folder]).table["training.learning_rate"]
    assert in_order("training.learning_rate", list(column)) == [512, 1024, 2048]


def test_an_ablation_is_compared_with_the_repair_of_the_same_lam(sweep: Sweep) -> None:
    for lam in (0.3, 0.5):
        sweep.add(lam, eta=0.2, rectifier="mr_row_norm", lam=lam)
        sweep.add(lam + 0.01, eta=0.2, rectifier="mr", lam=lam)
        sweep.add(0.7, eta=0.2, rectifier="mr_all_pairs", lam=lam)
    found = [pair for pair in contrasts(read_sweeps([sweep.folder]).table, R10) if pair.label == "mr - mr_row_norm"]
    assert [(pair.values["rectifier.lam"], pair.interval.estimate) for pair in found] == [
        (0.3, pytest.approx(0.01)),
        (0.5, pytest.approx(0.01)),
    ]


def test_repair_and_edit_in_one_study_give_rows_that_can_be_told_apart(sweep: Sweep) -> None:
    for rectifier in ("none", "mr"):
        sweep.add(0.1, rectifier=rectifier)
        sweep.add(0.2, rectifier=rectifier, edit="train_only", op="prune")
    table = difference_table(read_sweeps([sweep.folder]))
    metric = list(table.columns).index("metric")
    labels = [tuple(row[:metric]) for row in table.rows if row[metric] == "R@10"]
    assert len(set(labels)) == len(labels) == 4


def test_base_stands_beside_every_lam_of_table_2(sweep: Sweep) -> None:
    sweep.add(0.1, rectifier="none")
    for lam in (0.3, 0.5):
        sweep.add(0.1 + lam / 100, rectifier="mr", lam=lam)
    rows = [row for row in table2(read_sweeps([sweep.folder])).rows if row[2] == "R@10"]
    assert [[str(value) for value in row[1:5]] for row in rows] == [
        ["freedom rectifier.lam=0.3", "R@10", "0.1000", "0.1030"],
        ["freedom rectifier.lam=0.5", "R@10", "0.1000", "0.1050"],
    ]


def test_a_failed_job_with_one_modality_damaged_is_no_clean_cell(sweep: Sweep) -> None:
    sweep.add(0.1, dataset="baby")
    sweep.fail(
        "dataset=baby backbone=freedom rectifier=mr edit=none corruption.eta_of.visual=0.2", reason="out of memory"
    )
    assert "OOM" not in table2(read_sweeps([sweep.folder])).markdown()


def test_draws_are_those_of_damaged_jobs(sweep: Sweep) -> None:
    for seed in (0, 1, 2):
        sweep.add(0.1, seed=seed)
    sweep.add(0.1, eta=0.2, seed=0)
    assert draw_of(read_sweeps([sweep.folder]).table) == "none"
    sweep.add(0.1, eta=0.2, seed=1)
    assert draw_of(read_sweeps([sweep.folder]).table) == "tied"


def test_one_point_that_few_seeds_have_costs_a_curve_no_seed(sweep: Sweep) -> None:
    for seed in range(4):
        for eta in (0, 0.2, 0.4):
            sweep.add(0.1 - eta / 10, eta=eta, seed=seed)
    sweep.add(0.05, eta=0.3, seed=0)
    [row] = robustness_table(read_sweeps([sweep.folder])).rows
    assert row[-2:] == ["4", "A"]


def test_a_model_that_finds_nothing_has_no_relative_drop(sweep: Sweep) -> None:
    for eta in (0, 0.2):
        sweep.add(0.0, eta=eta)
    [row] = robustness_table(read_sweeps([sweep.folder])).rows
    assert [str(value) for value in row] == ["0-0.2", "0.0000", "", "", "", "", "", "1", "A"]
