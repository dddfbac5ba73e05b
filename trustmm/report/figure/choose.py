"""Which figures a sweep gets: by the options that vary."""

from collections.abc import Callable, Iterator

from trustmm.report.figure.amount import alignment_scatter, amount_curves
from trustmm.report.figure.bars import ablation, difference_chart
from trustmm.report.figure.curves import edit_curves, modality_curves
from trustmm.report.figure.line import ETA, ETA_E, Drawing
from trustmm.report.figure.reliability import reliability_diagram
from trustmm.report.figure.repair import repair_curves
from trustmm.report.figure.sensitivity import sensitivity
from trustmm.report.runs.cells import axes_of
from trustmm.report.runs.read import Runs


def figures_of(runs: Runs) -> Iterator[Drawing]:
    """All figures that the runs have something for."""
    table, axes = runs.table, axes_of(runs.table)
    knobs = {"rectifier.lam", "rectifier.tau"} & set(axes)
    ablated = bool({"mr_row_norm", "mr_all_pairs"} & set(table["rectifier"]))
    diagnosed = any(name.endswith("/hub_gini") for name in table.columns)
    applies: list[tuple[Callable[[Runs], Drawing | None], bool]] = [
        (modality_curves, ETA in axes),
        (sensitivity, bool(knobs)),
        (edit_curves, table["edit"].nunique() > 1 and ETA_E in axes),
        (amount_curves, "diagnostics/edit/gain_0" in table),
        (alignment_scatter, "diagnostics/edit/alignment_test" in table),
        (ablation, ablated),
        (difference_chart, ETA not in axes and not knobs and table["rectifier"].nunique() > 1),
        (repair_curves, ETA in axes and diagnosed),
        (reliability_diagram, "trust" in set(table["rectifier"])),
    ]
    drawn = (draw(runs) for draw, wanted in applies if wanted)
    yield from (drawing for drawing in drawn if drawing is not None)
