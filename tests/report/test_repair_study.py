"""A study of repairs: the report and the demo show the same means of what a repair did."""

from trustmm.cli.demo import repairs_table
from trustmm.report.runs.read import read_sweeps
from trustmm.report.table.diagnosis import repair_table

from .conftest import Sweep


def test_the_demo_and_the_report_show_the_same_means_of_a_repair(sweep: Sweep) -> None:
    for seed in (0, 1):
        found = {
            "visual/eta_hat": 0.2 + seed / 10,
            "visual/touched/observed_to_clean": 0.1,
            "visual/touched/rectified_to_clean": 0.4 + seed / 5,
            "visual/untouched/rectified_to_clean": 0.9,
        }
        for rectifier in ("none", "mr"):
            sweep.add(0.05, dataset="sports", eta=0.2, rectifier=rectifier, seed=seed, diagnostics=found)
    runs = read_sweeps([sweep.folder])
    table = repair_table(runs)
    (row,) = table.rows
    shown = dict(zip(table.columns, map(str, row), strict=True))
    assert (shown["estimated eta"], shown["touched to clean, before"], shown["after"]) == ("0.25", "0.10", "0.50")
    assert (shown["modality"], shown["Brier"]) == ("visual", "")
    demo = repairs_table(runs)
    lines = list(zip(*(column.cells for column in demo.columns), strict=True))
    assert lines[1] == ("0.2", "mr", "visual", "0.25", "0.10 -> 0.50", "", "")
    assert lines[0] == ("0.2", "mr", "textual", "nan", "", "", "")
