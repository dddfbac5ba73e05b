"""Two studies in one report are one axis, not a dozen."""

from collections.abc import Callable
from pathlib import Path

from tests.report.conftest import Sweep
from trustmm.report.figure.choose import figures_of
from trustmm.report.runs.cells import axes_of, pairs
from trustmm.report.runs.read import Runs, combine, options_in, read_sweeps
from trustmm.report.runs.studies import STUDY, legend_of_studies, told_by_study
from trustmm.report.write import write_report


def two(new_sweep: Callable[[str], Sweep], left: dict[str, object], right: dict[str, object]) -> Runs:
    sweeps = [(new_sweep("left"), left), (new_sweep("right"), right)]
    for sweep, own in sweeps:
        for rectifier in ("none", "mr"):
            for eta in (0, 0.2):
                for seed in (0, 1):
                    sweep.add(0.1 + eta / 10, rectifier=rectifier, eta=eta, seed=seed, **own)
    return combine([read_sweeps([sweep.folder]) for sweep, _ in sweeps])


def test_settings_that_only_tell_sweeps_apart_are_a_study_with_a_legend(
    new_sweep: Callable[[str], Sweep], tmp_path: Path
) -> None:
    runs = two(new_sweep, {"learning_rate": 0.001}, {"learning_rate": 0.002})
    assert "training.learning_rate" in axes_of(runs.table)
    told = told_by_study(runs.table, options_in(runs.table))
    assert axes_of(told) == [STUDY, "corruption.eta", "rectifier"]
    assert legend_of_studies(told, options_in(told)) == [
        "left: training.learning_rate=0.001",
        "right: training.learning_rate=0.002",
    ]
    found = pairs(told, "rectifier", "none", "test/recall@10")
    assert [pair.values[STUDY] for pair in found] == ["left", "left", "right", "right"]
    page = write_report(runs, tmp_path / "out")[0].read_text(encoding="utf-8")
    assert "  - right: training.learning_rate=0.002" in page
    assert "learning_rate" not in page.partition("**Robustness")[2].partition("## Claims")[0]


def test_a_study_stands_in_the_title_of_its_panels(new_sweep: Callable[[str], Sweep]) -> None:
    runs = two(new_sweep, {"learning_rate": 0.001}, {"learning_rate": 0.002})
    table = told_by_study(runs.table, options_in(runs.table))
    [drawing, *_] = figures_of(Runs(table))
    titles = [axis.get_title() for axis in drawing.figure.axes if axis.get_title()]
    assert titles == ["left, synthetic, freedom", "right, synthetic, freedom"]


def test_what_a_sweep_varies_and_what_a_job_does_not_use_makes_no_study(new_sweep: Callable[[str], Sweep]) -> None:
    same = two(new_sweep, {}, {"backbone": "vbpr"})
    assert told_by_study(same.table, options_in(same.table)) is same.table
    varied = new_sweep("varied")
    for rate in (0.001, 0.002):
        varied.add(0.1, learning_rate=rate)
    runs = combine([same, read_sweeps([varied.folder])])
    assert STUDY not in told_by_study(runs.table, options_in(runs.table))


def test_damage_that_does_not_happen_has_no_options(sweep: Sweep) -> None:
    sweep.add(0.1, eta=0)
    sweep.add(0.1, eta=0.2)
    table = read_sweeps([sweep.folder]).table
    assert table["corruption.joint"].isna().tolist() == [True, False]
    assert axes_of(table) == ["corruption.eta"]
