"""A report says what is wrong with its runs and does not crash."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest

from trustmm.cli.report import main
from trustmm.report.runs.cells import axes_of, gaps, pairs
from trustmm.report.runs.read import Runs, combine, read_sweeps
from trustmm.report.table.caption import caption_facts, code_versions, provenance
from trustmm.report.table.study import difference_table, pivot_table, robustness_table
from trustmm.report.table.table import Number, Table
from trustmm.report.write import mixed_pairs, write_report

from .conftest import Sweep, curves

PNG = b"\x89PNG"
PLAN = """\
hydra:
  sweep: {{dir: x}}
  job: {{config_name: fig5_ablation}}
  runtime: {{cwd: /nowhere, choices: {{dataset: synthetic, backbone: freedom, rectifier: none}}}}
  sweeper: {{_target_: hydra.x.BasicSweeper, params: {{rectifier: 'none, mr'}}}}
  overrides: {{task: ['seed={seeds}']}}
seed: 0
corruption: {{eta: 0.0}}
"""


def recall(backbone: str, eta: float, rectifier: str, seed: int) -> float:
    lost = {"freedom": 0.1, "vbpr": 0.02}[backbone] * eta
    return 0.07 + seed * 0.001 - lost + (lost / 2 + 0.0001 * (seed % 2) if rectifier == "mr" else 0)


def test_runs_stand_in_the_order_of_their_options_whichever_job_finished_first(sweep: Sweep) -> None:
    wanted = [("none", 0.0, 0), ("none", 0.2, 0), ("none", 0.2, 1), ("mr", 0.0, 0), ("mr", 0.2, 1)]
    for number, (rectifier, eta, seed) in enumerate(reversed(wanted)):
        sweep.add(rectifier=rectifier, eta=eta, seed=seed, ended=number)
    table = read_sweeps([sweep.folder]).table
    assert list(zip(table["rectifier"], table["corruption.eta"], table["seed"], strict=True)) == wanted


def test_functions_of_a_plugin_are_no_other_version_of_the_code(sweep: Sweep) -> None:
    for kind, code in (("permute", "c0de"), ("myshop.functions.flipped", "beef"), ("myshop.functions.flipped", "beef")):
        sweep.add(0.1, eta=0.2, kind=kind, code=code * 8)
    assert code_versions(read_sweeps([sweep.folder]).table) == []
    sweep.add(0.1, eta=0.2, kind="myshop.functions.flipped", code="f00d" * 8, seed=1)
    assert len(code_versions(read_sweeps([sweep.folder]).table)) == 1


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
    (sweep.folder / "multirun.yaml").write_text(PLAN.format(seeds="0,1"), encoding="utf-8")
    runs = read_sweeps([sweep.folder])
    assert [cell.cell for cell in runs.absent] == [
        "rectifier=none seed=1",
        "rectifier=mr seed=0",
        "rectifier=mr seed=1",
    ]
    assert list(runs.names) == ["fig5_ablation"]
    assert "3 cells missing" in caption_facts(runs)


def test_newer_result_of_a_cell_replaces_the_older_and_is_named(sweep: Sweep, tmp_path: Path) -> None:
    new = sweep.add(0.2, seed=0, code="1" * 32, ended=2)
    sweep.add(0.1, seed=0, code="0" * 32, ended=1)  # the file is newer, as after a copy
    runs = read_sweeps([sweep.folder])
    assert list(runs.table["job_id"]) == [new]
    assert "00000000" in "\n".join(provenance(runs))


def test_older_results_stay_named_when_folders_are_combined_again(new_sweep: Callable[[str], Sweep]) -> None:
    left, right = new_sweep("left"), new_sweep("right")
    for code in ("0" * 32, "1" * 32):
        left.add(0.1, seed=0, code=code)
    right.add(0.1, seed=1, code="1" * 32)
    runs = combine([read_sweeps([left.folder]), read_sweeps([right.folder])])
    again = combine([runs, read_sweeps([left.folder])])
    for one in (runs, again):
        assert [line.partition("(code ")[2] for line in one.superseded] == ["00000000)"]
        assert "Older results of a cell that has a newer one, not used (1)" in "\n".join(provenance(one))


def test_cells_that_the_template_no_longer_plans_are_named(sweep: Sweep) -> None:
    for seed in (0, 1):
        sweep.add(0.1, rectifier="none", seed=seed)
    (sweep.folder / "multirun.yaml").write_text(PLAN.format(seeds="0"), encoding="utf-8")
    runs = read_sweeps([sweep.folder])
    assert "rectifier=none seed=1" in runs.unplanned
    assert "rectifier=none seed=0" not in runs.unplanned
    assert "Recorded, but no longer planned by the folder's command" in "\n".join(provenance(runs))
    (sweep.folder / "multirun.yaml").write_text(PLAN.format(seeds="0,1"), encoding="utf-8")
    assert "rectifier=none seed=1" not in read_sweeps([sweep.folder]).unplanned


def test_every_pair_says_the_environment_of_both_sides_and_of_their_inputs(sweep: Sweep, tmp_path: Path) -> None:
    for eta, blas, inputs in ((0, "Haswell", ()), (0.2, "SkylakeX", ()), (0.4, "Haswell", ("SkylakeX",))):
        sweep.add(0.1, rectifier="none", eta=eta)
        made = [{"trustmm": "0.1.0", "blas": one, "host": "two"} for one in inputs]
        sweep.add(0.2, rectifier="mr", eta=eta, blas=blas, host="two", inputs=made)
    runs = read_sweeps([sweep.folder])
    table = difference_table(runs)
    said = [row[-1] for row in table.rows if row[list(table.columns).index("metric")] == "R@10"]
    assert said == ["A", "B vs A", "A (inputs of B) vs A"]
    assert "Environment A: blas Haswell (5 jobs on one, two)." in table.notes
    assert "Environment B: blas SkylakeX (1 job on two)." in table.notes
    write_report(runs, tmp_path / "out")
    for name in ("table2", "claims", "claims_here", "robustness", "pivot"):
        path = tmp_path / "out" / f"{name}.md"
        if path.exists():
            assert "Compared across environments" in path.read_text(encoding="utf-8")
    assert all((tmp_path / "out" / f"{name}.md").exists() for name in ("robustness", "pivot"))
    assert [row[-1] for row in robustness_table(runs).rows] == ["A", "A + B vs A"]
    [through] = [note for note in mixed_pairs(runs) if note.startswith("**Curves")]
    assert through == "**Curves through several environments**: rectifier=mr over corruption.eta: A + B."


def test_one_environment_is_said_once_and_another_host_is_none(sweep: Sweep) -> None:
    sweep.add(0.1, rectifier="none")
    sweep.add(0.2, rectifier="mr", host="two")
    runs = read_sweeps([sweep.folder])
    assert {row[-1] for row in difference_table(runs).rows} == {"A"}
    assert mixed_pairs(runs) == []


def test_cells_whose_data_differ_are_never_paired_though_their_options_agree(sweep: Sweep, tmp_path: Path) -> None:
    for seed in (0, 1):
        sweep.add(0.1, rectifier="none", seed=seed, content="3abb15")
        sweep.add(0.2, rectifier="mr", seed=seed, content="747bc6")
    runs = read_sweeps([sweep.folder])
    assert not pairs(runs.table, "rectifier", "none", "test/recall@10")
    assert not pairs(runs.table, "rectifier", "none", "test/recall@10", ["corruption.eta", "rectifier"])
    assert not difference_table(runs).rows
    page = write_report(runs, tmp_path / "out")[0].read_text(encoding="utf-8")
    assert "**Data differ though their options agree; they are not compared** (2)" in page
    assert "synthetic#3abb15 (2 jobs)" in page
    assert "Data of the same name differ and are not compared" in caption_facts(runs)
    again = combine([runs, read_sweeps([sweep.folder])])
    assert sorted(set(again.table["dataset"])) == ["synthetic#3abb15", "synthetic#747bc6"]


def test_the_same_job_in_two_sweeps_counts_once(new_sweep: Callable[[str], Sweep]) -> None:
    left, right = new_sweep("left"), new_sweep("right")
    for one in (left, right):
        one.add(0.1, seed=0)
    assert len(combine([read_sweeps([left.folder]), read_sweeps([right.folder])]).table) == 1


def test_folders_of_one_command_from_two_machines_are_one_study_each_job_once(tmp_path: Path) -> None:
    """One machine was stopped, the other failed at what the first had done; seed 3 was run by nobody."""
    machines = [Sweep(tmp_path / machine, "table2") for machine in ("one", "two")]
    for machine, seeds in zip(machines, ((0, 1), (1, 2)), strict=True):
        for seed in seeds:
            for rectifier in ("none", "mr"):
                value = 0.1 + 0.01 * seed + 1e-9 * (machine is machines[1])
                machine.add(value, rectifier=rectifier, seed=seed)
        (machine.folder / "multirun.yaml").write_text(PLAN.format(seeds="0,1,2,3"), encoding="utf-8")
    machines[1].fail("rectifier=none seed=0")
    runs = read_sweeps([machine.folder for machine in machines])
    assert runs.table.groupby("rectifier")["seed"].apply(list).to_dict() == {"mr": [0, 1, 2], "none": [0, 1, 2]}
    twice = runs.table[runs.table["seed"] == 1]
    assert {Path(folder).parent.name for folder in twice["folder"]} == {"one"}  # the newer results
    assert [cell.cell for cell in runs.absent] == ["rectifier=none seed=3", "rectifier=mr seed=3"]
    assert not runs.failures
    assert "study" not in axes_of(runs.table)
    (pair,) = pairs(runs.table, "rectifier", "none", "test/recall@10")
    assert sorted(pair.by_seed) == [0, 1, 2]


def test_a_split_drawn_anew_for_every_seed_is_part_of_the_seed_and_one_drawn_twice_is_an_axis(
    new_sweep: Callable[[str], Sweep],
) -> None:
    tied, crossed = new_sweep("tied"), new_sweep("crossed")
    for seed in (0, 1, 2):
        for rectifier, value in (("none", 0.1), ("mr", 0.2)):
            tied.add(value, rectifier=rectifier, seed=seed, split_seed=seed, content=f"c{seed}")
            for split in (0, 1):
                crossed.add(value, rectifier=rectifier, seed=seed, split_seed=split, content=f"c{split}")
    runs = read_sweeps([tied.folder])
    assert axes_of(runs.table) == ["rectifier"]
    (pair,) = pairs(runs.table, "rectifier", "none", "test/recall@10")
    assert list(pair.by_seed) == [0, 1, 2]
    assert set(axes_of(read_sweeps([crossed.folder]).table)) == {"rectifier", "dataset.split_seed"}


def test_a_study_that_stopped_by_itself_has_its_verdicts_and_paths_in_the_report(sweep: Sweep, tmp_path: Path) -> None:
    for seed in (0, 1, 2):
        for rectifier, value in (("none", 0.1), ("mr", 0.2)):
            sweep.add(value + 0.01 * seed, rectifier=rectifier, seed=seed)
    head = {"metric": "recall@10", "nominal": 0.0093, "environments": ["A: blas Haswell (6 jobs on one)"]}
    look = {"comparison": "rectifier=mr", "estimate": 0.1, "low": 0.05, "high": 0.15, "p": 0.01, "e": 30.0}
    look |= {"margin": 0.002, "seconds": 3600.0, "environment": "A"}
    looks = [look | {"seeds": 2, "ended": ""}, look | {"seeds": 3, "ended": "better"}]
    text = "\n".join(json.dumps(line) for line in (head, *looks))
    (sweep.folder / "evidence.jsonl").write_text(text, encoding="utf-8")
    files = write_report(read_sweeps([sweep.folder]), tmp_path / "out")
    page = files[0].read_text(encoding="utf-8")
    assert "![Differences over seeds](evidence.png)" in page
    row = "| rectifier=mr | better | 3 | +0.1000 | [+0.0500, +0.1500] | 0.010 | 30 | 1.00 | A |"
    assert row in page
    assert "each look at level 0.0093" in page
    assert (tmp_path / "out" / "evidence.png").read_bytes().startswith(PNG)
    assert row in (tmp_path / "out" / "evidence_verdicts.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("damage", [{"e": None}, {"low": "x"}, {"seconds": math.nan}, {"ended": ...}], ids=str)
def test_looks_that_are_damaged_are_left_out_and_named(
    damage: dict[str, object], sweep: Sweep, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sweep.add(0.1, rectifier="none")
    head = {"metric": "recall@10", "nominal": 0.0093, "environments": []}
    numbers = dict.fromkeys(("estimate", "low", "high", "p", "e", "margin", "seconds"), 0.1)
    look = {"comparison": "a", "seeds": 3, "ended": "", "environment": "A", **numbers, **damage}
    look = {name: value for name, value in look.items() if value is not ...}
    text = f"{json.dumps(head)}\n{json.dumps(look)}\n"
    (sweep.folder / "evidence.jsonl").write_text(text, encoding="utf-8")
    page = write_report(read_sweeps([sweep.folder]), tmp_path / "out")[0].read_text(encoding="utf-8")
    assert "Verdicts" not in page
    assert "evidence.jsonl is damaged" in caplog.text


def test_several_stores_are_read_together(sweep: Sweep, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A job that is in two of them counts once."""
    sweep.add(0.1, rectifier="none")
    asked = []

    def read(uri: str, cache: Path, **options: object) -> Runs:
        asked.append(uri)
        return read_sweeps([sweep.folder])

    monkeypatch.setattr("trustmm.cli.report.read_mlflow", read)
    stores = ["--mlflow", "sqlite:///one.db", "--mlflow", "sqlite:///two.db", "--experiment", "trustmm"]
    main([*stores, "--out", str(tmp_path / "out"), "--no-log"])
    assert asked == ["sqlite:///one.db", "sqlite:///two.db"]
    assert len((tmp_path / "out" / "runs.csv").read_text(encoding="utf-8").splitlines()) == 2


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


def test_table_has_two_forms_to_read() -> None:
    table = Table("x", "50 % & more", ["a_b", "n"], [["x|y", Number(0.12345, bold=True)], ["<", Number(float("nan"))]])
    assert "| x\\|y | **0.1235** |" in table.markdown().replace("0.1234", "0.1235")
    assert table.csv() == "a_b,n\nx|y,0.12345\n<,\n"


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
    assert "1 seed per cell (0-2)" in page
    assert "All cells" in page
    assert "Fig. 3" not in page.partition("## Claims")[0]
