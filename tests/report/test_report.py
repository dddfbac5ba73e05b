"""A report says what is wrong with its runs and does not crash."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from trustmm.cli.report import main
from trustmm.report.runs.cells import axes_of, gaps, pairs
from trustmm.report.runs.read import combine, read_sweeps
from trustmm.report.table.caption import caption_facts, provenance
from trustmm.report.table.study import difference_table, pivot_table
from trustmm.report.table.table import Number, Table
from trustmm.report.write import write_report

from .conftest import Sweep, curves

PNG = b"\x89PNG"


def recall(backbone: str, eta: float, rectifier: str, seed: int) -> float:
    lost = {"freedom": 0.1, "vbpr": 0.02}[backbone] * eta
    return 0.07 + seed * 0.001 - lost + (lost / 2 + 0.0001 * (seed % 2) if rectifier == "mr" else 0)


def test_runs_stand_in_the_order_of_their_options_whichever_job_finished_first(sweep: Sweep) -> None:
    wanted = [("none", 0.0, 0), ("none", 0.2, 0), ("none", 0.2, 1), ("mr", 0.0, 0), ("mr", 0.2, 1)]
    for number, (rectifier, eta, seed) in enumerate(reversed(wanted)):
        job_id = sweep.add(rectifier=rectifier, eta=eta, seed=seed)
        os.utime(sweep.outputs / job_id / "result.json", (number, number))
    table = read_sweeps([sweep.folder]).table
    assert list(zip(table["rectifier"], table["corruption.eta"], table["seed"], strict=True)) == wanted


def test_failed_job_missing_seed_and_another_version_are_named(sweep: Sweep, tmp_path: Path) -> None:
    for seed in (0, 1, 2):
        for rectifier in ("none", "mr"):
            if (seed, rectifier) not in ((2, "mr"), (1, "none")):
                code = {"code": "beef" * 8, "version": "0.2.0"} if seed == 2 else {}
                sweep.add(0.1 + 0.01 * seed, rectifier=rectifier, seed=seed, **code)
    sweep.fail("rectifier=none seed=1", reason="torch.OutOfMemoryError: CUDA out of memory")
    sweep.add(0.1, rectifier="none", seed=3, code="beef" * 8)
    main([str(sweep.folder), "--out", str(tmp_path / "out")])
    page = (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    assert "`rectifier=none seed=1`: FAILED, torch.OutOfMemoryError: CUDA out of memory" in page
    assert "`rectifier=mr seed=2`" in page
    assert "1 job failed" in page
    assert "Several versions of the code are mixed" in page
    assert "c0dec0de (1 job)" in page
    assert "beefbeef (2 jobs)" in page
    assert "trustmm 0.2.0" in page


def test_folder_of_failed_jobs_only_is_reported(sweep: Sweep, tmp_path: Path) -> None:
    sweep.record("seed=0")
    sweep.fail("seed=1", "KILLED", "killed by signal 9, possibly out of memory")
    page = write_report(read_sweeps([sweep.folder]), tmp_path / "out")[0].read_text(encoding="utf-8")
    assert "`seed=0`: LOST, no result.json" in page
    assert "`seed=1`: KILLED, killed by signal 9, possibly out of memory" in page


def test_status_in_cells_csv_counts_too(sweep: Sweep) -> None:
    job = sweep.add(0.1, seed=0)
    sweep.record("seed=1", job, status="FAILED", reason="MemoryError")
    [failure] = read_sweeps([sweep.folder]).failures
    assert (failure.status, failure.values["seed"], failure.out_of_memory) == ("FAILED", "1", True)


@pytest.mark.parametrize("name", ["nowhere", "."])
def test_folder_without_runs_is_one_message(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([str(tmp_path / name), "--out", str(tmp_path / "out")])
    assert ended.value.code == 1
    assert "must be a sweep folder (with cells.csv)" in capsys.readouterr().err


def test_planned_cells_that_never_ran_are_named(sweep: Sweep) -> None:
    sweep.add(0.1, rectifier="none", seed=0)
    (sweep.folder / "multirun.yaml").write_text(
        "hydra:\n"
        "  sweep: {dir: x}\n"
        "  job: {config_name: fig5_ablation}\n"
        "  runtime: {cwd: /nowhere, choices: {dataset: synthetic, backbone: freedom, rectifier: none}}\n"
        "  sweeper: {_target_: hydra.x.BasicSweeper, params: {rectifier: 'none, mr'}}\n"
        "  overrides: {task: ['seed=0,1']}\n"
        "seed: 0\ncorruption: {eta: 0.0}\n",
        encoding="utf-8",
    )
    runs = read_sweeps([sweep.folder])
    assert [cell.cell for cell in runs.absent] == [
        "rectifier=none seed=1",
        "rectifier=mr seed=0",
        "rectifier=mr seed=1",
    ]
    assert list(runs.names) == ["fig5_ablation"]
    assert "3 cells missing" in caption_facts(runs)


def test_newer_result_of_a_cell_replaces_the_older_and_is_named(sweep: Sweep, tmp_path: Path) -> None:
    import os

    old = sweep.add(0.1, seed=0, code="0" * 32)
    os.utime(sweep.outputs / old / "result.json", (1, 1))
    new = sweep.add(0.2, seed=0, code="1" * 32)
    runs = read_sweeps([sweep.folder])
    assert list(runs.table["job_id"]) == [new]
    assert "00000000" in "\n".join(provenance(runs))


def test_the_same_job_in_two_sweeps_counts_once(new_sweep: Callable[[str], Sweep]) -> None:
    left, right = new_sweep("left"), new_sweep("right")
    for one in (left, right):
        one.add(0.1, seed=0)
    assert len(combine([read_sweeps([left.folder]), read_sweeps([right.folder])]).table) == 1


def test_axes_are_what_varies_and_a_gap_is_a_missing_seed(sweep: Sweep) -> None:
    curves(sweep, recall, etas=(0, 0.2), seeds=(0, 1))
    sweep.add(0.1, backbone="freedom", eta=0, rectifier="none", seed=2)
    runs = read_sweeps([sweep.folder])
    assert axes_of(runs.table) == ["backbone", "corruption.eta", "rectifier"]
    assert len(gaps(runs)) == 7
    assert "backbone=vbpr corruption.eta=0.2 rectifier=mr seed=2" in gaps(runs)


def test_differences_are_paired_by_seed(sweep: Sweep) -> None:
    for seed, gain in enumerate((0.01, 0.02, 0.03)):
        sweep.add(seed, rectifier="none", seed=seed)
        sweep.add(seed + gain, rectifier="mr", seed=seed)
    sweep.add(9, rectifier="mr", seed=7)  # no partner
    [pair] = pairs(read_sweeps([sweep.folder]).table, "rectifier", "none", "test/recall@10")
    assert pair.label == "mr - none"
    assert [round(value, 6) for value in pair.by_seed.values()] == [0.01, 0.02, 0.03]
    assert pair.base == 1


def test_every_cell_of_a_knob_is_compared_with_the_one_base(sweep: Sweep) -> None:
    for seed in (0, 1):
        sweep.add(0.1, rectifier="none", seed=seed)
        for lam in (0.2, 0.8):
            sweep.add(0.1 + lam, rectifier="mr", lam=lam, seed=seed)
    found = pairs(read_sweeps([sweep.folder]).table, "rectifier", "none", "test/recall@10")
    assert [(pair.treated["rectifier.lam"], round(pair.interval.estimate, 6)) for pair in found] == [
        (0.2, 0.2),
        (0.8, 0.8),
    ]


def test_one_seed_shows_the_per_user_test_under_its_own_name_and_no_decision(sweep: Sweep) -> None:
    for rectifier in ("none", "mr"):
        sweep.add(0.1 + 0.05 * (rectifier == "mr"), rectifier=rectifier, seed=0)
    table = difference_table(read_sweeps([sweep.folder]))
    row = dict(zip(table.columns, table.rows[0], strict=True))
    assert row["95% interval, seeds"] == "one seed"
    assert row["p, Holm"] == ""
    assert row["users of one seed"] == "< 0.0001"
    assert "for this trained pair only; it decides no claim" in table.caption
    assert "nothing is decided" in table.caption


def test_five_seeds_get_the_bootstrap_over_seeds_and_users(sweep: Sweep) -> None:
    curves(sweep, recall, etas=(0.2,), backbones=("freedom",))
    table = difference_table(read_sweeps([sweep.folder]))
    row = dict(zip(table.columns, table.rows[0], strict=True))
    assert row["95% interval, seeds x users"].startswith("[+0.00")


def test_any_other_sweep_is_pivoted_by_what_varies(sweep: Sweep) -> None:
    for rate in (0.001, 0.002):
        for backbone in ("bpr", "vbpr"):
            sweep.add(rate * 100, learning_rate=rate, backbone=backbone, seed=0)
    table = pivot_table(read_sweeps([sweep.folder]))
    assert table is not None
    assert list(table.columns) == ["backbone", "training.learning_rate=0.001", "training.learning_rate=0.002"]
    assert [[str(value) for value in row] for row in table.rows] == [
        ["bpr", "0.1000", "0.2000"],
        ["vbpr", "0.1000", "0.2000"],
    ]


def test_table_has_three_forms() -> None:
    table = Table("x", "50 % & more", ["a_b", "n"], [["x|y", Number(0.12345, bold=True)], ["<", Number(float("nan"))]])
    assert "| x\\|y | **0.1235** |" in table.markdown().replace("0.1234", "0.1235")
    assert table.csv() == "a_b,n\nx|y,0.12345\n<,\n"
    assert r"\textbf{0.123" in table.latex()
    assert r"50 \% \& more" in table.latex()
    assert r"a\_b & n \\" in table.latex()


def test_corruption_drawn_apart_from_training_is_said(sweep: Sweep) -> None:
    curves(sweep, recall, etas=(0.2,), seeds=(0, 1), backbones=("freedom",))
    assert "training seed and corruption draw vary together" in caption_facts(read_sweeps([sweep.folder]))


def test_a_gap_is_looked_for_among_the_cells_of_one_sweep(new_sweep: Callable[[str], Sweep]) -> None:
    first, second = new_sweep("first"), new_sweep("second")
    for rectifier in ("none", "mr"):
        first.add(0.1, eta=0.2, rectifier=rectifier, seed=0)
        second.add(0.1, eta=0, rectifier=rectifier, seed=1)
    shared = second.add(0.1, eta=0.2, rectifier="mr", seed=0)
    runs = read_sweeps([first.folder, second.folder])
    assert dict(zip(runs.table["job_id"], runs.table["sweeps"], strict=True))[shared] == tuple(
        sorted(str(sweep.folder) for sweep in (first, second))
    )
    assert gaps(runs) == [
        "corruption.eta=0 rectifier=none seed=0",
        "corruption.eta=0 rectifier=mr seed=0",
        "corruption.eta=0.2 rectifier=mr seed=1",
    ]


def test_a_search_is_pointed_to_its_own_page_and_not_laid_out_as_a_grid(sweep: Sweep, tmp_path: Path) -> None:
    for seed in (0, 1, 2):
        sweep.add(0.1, eta=0.2, rectifier="mr", lam=0.31 * (seed + 1), tau=0.07 * (seed + 1), seed=seed)
    assert "Fig. 3" in write_report(read_sweeps([sweep.folder]), tmp_path)[0].read_text(encoding="utf-8")
    (sweep.folder / "study.md").write_text("# study\n", encoding="utf-8")
    page = write_report(read_sweeps([sweep.folder]), tmp_path)[0].read_text(encoding="utf-8")
    assert f"Drawn by a sampler: `{sweep.folder / 'study.md'}` shows" in page
    assert "0 cells missing" in page
    assert "1 seed a cell (0-2)" in page
    assert "All cells" in page
    assert "Fig. 3" not in page.partition("## Claims")[0]
