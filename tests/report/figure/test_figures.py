"""Figures appear where they apply, as PNG, SVG and PDF, and their labels do not overlap."""

from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from tests.report.conftest import Sweep, curves
from tests.report.evidence.test_claims import ablation, edits, figure2
from trustmm.report.figure.choose import figures_of
from trustmm.report.figure.line import STYLES
from trustmm.report.runs.read import read_sweeps
from trustmm.report.write import write_report


def knobs(sweep: Sweep) -> None:
    for seed in range(3):
        for lam in (0, 0.5, 1):
            for tau in (0.05, 0.1, 0.5):
                sweep.add(0.05 + lam / 100 + seed / 1000, eta=0.2, rectifier="mr", lam=lam, tau=tau, seed=seed)


STUDIES: dict[str, tuple[Callable[[Sweep], None], list[str]]] = {
    "fig2": (lambda sweep: curves(sweep, figure2, seeds=range(3)), ["modality_curves"]),
    "fig3": (knobs, ["sensitivity"]),
    "fig4": (lambda sweep: edits(sweep, lambda op, mode, noise: 0.01 * abs(noise)), ["edit_curves"]),
    "fig5": (
        lambda sweep: ablation(sweep, {"none": 0.05, "mr": 0.06, "mr_row_norm": 0.055, "mr_all_pairs": 0.04}),
        ["ablation", "difference_chart"],
    ),
    "one_seed": (lambda sweep: curves(sweep, figure2, seeds=(0,), etas=(0, 0.4)), ["modality_curves"]),
}


def text_boxes(figure: Figure) -> list[tuple[str, object]]:
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    renderer = canvas.get_renderer()
    found = []
    for axis in (axis for axis in figure.axes if axis.get_visible()):
        sides = ((axis.xaxis, 0, axis.get_xlim()), (axis.yaxis, 1, axis.get_ylim()))
        ticks = [
            label
            for side, place, limits in sides
            for label in side.get_ticklabels()
            if label.get_visible() and min(limits) <= label.get_position()[place] <= max(limits)
        ]
        texts = [*ticks, axis.title, axis.xaxis.label, axis.yaxis.label]
        found += [(text.get_text(), text.get_window_extent(renderer)) for text in texts if text.get_text()]
    found += [(text.get_text(), text.get_window_extent(renderer)) for legend in figure.legends for text in legend.texts]
    return found


@pytest.mark.parametrize("study", STUDIES)
def test_labels_do_not_overlap(study: str, sweep: Sweep) -> None:
    fill, expected = STUDIES[study]
    fill(sweep)
    drawings = list(figures_of(read_sweeps([sweep.folder])))
    assert [drawing.name for drawing in drawings] == expected
    for drawing in drawings:
        for (left, one), (right, other) in combinations(text_boxes(drawing.figure), 2):
            assert not one.overlaps(other), f"{drawing.name}: {left!r} over {right!r}"


@pytest.mark.parametrize("study", ["fig2", "fig4", "one_seed"])
def test_markers_are_whole(study: str, sweep: Sweep) -> None:
    STUDIES[study][0](sweep)
    for drawing in figures_of(read_sweeps([sweep.folder])):
        FigureCanvasAgg(drawing.figure).draw()
        dot = drawing.figure.dpi / 72
        for axis in (axis for axis in drawing.figure.axes if axis.get_visible()):
            box = axis.get_window_extent()
            for line in (line for line in axis.get_lines() if line.get_marker() in ("o", "s", "^", "D")):
                for x, y in axis.transData.transform(line.get_xydata()):
                    half = line.get_markersize() / 2 * dot
                    assert box.x0 + half <= x <= box.x1 - half, f"{drawing.name}: a marker is cut at the side"
                    assert box.y0 + half <= y <= box.y1 - half, f"{drawing.name}: a marker is cut above or below"


def test_every_kind_of_corruption_gets_a_panel_that_starts_at_the_shared_clean_cell(sweep: Sweep) -> None:
    for kind in ("permute", "normal"):
        curves(sweep, figure2, etas=(0, 0.5), seeds=(0, 1), backbones=("freedom",), kind=kind)
    [drawing] = figures_of(read_sweeps([sweep.folder]))
    panels = [axis for axis in drawing.figure.axes if axis.get_visible() and axis.get_title()]
    assert [axis.get_title() for axis in panels] == ["synthetic, freedom, permute", "synthetic, freedom, normal"]
    assert all(list(axis.get_lines()[0].get_xdata()) == [0, 0.5] for axis in panels)


def test_report_has_every_form_of_every_artefact(sweep: Sweep, tmp_path: Path) -> None:
    curves(sweep, figure2, seeds=(0, 1), etas=(0, 0.2))
    write_report(read_sweeps([sweep.folder]), tmp_path)
    names = {path.name for path in tmp_path.iterdir()}
    forms = {
        f"{name}.{form}"
        for name in ("table2", "differences", "robustness", "cells", "claims_here")
        for form in ("md", "csv", "tex")
    }
    assert forms | {f"modality_curves.{form}" for form in ("png", "svg", "pdf")} | {"report.md", "runs.csv"} <= names
    assert "claims.md" not in names, "none of the paper's claims is measured"
    assert "None of" not in (tmp_path / "report.md").read_text("utf-8"), "the same rules say something of these data"
    assert b"/Type3" not in (tmp_path / "modality_curves.pdf").read_bytes()
    assert "![Robustness when features are wrong (Fig. 2)](modality_curves.png)" in (tmp_path / "report.md").read_text(
        "utf-8"
    )


def test_styles_differ_by_more_than_colour() -> None:
    for group in (("none", "mr", "mr_row_norm", "mr_all_pairs"), ("none", "train_only", "graph_only", "both")):
        assert len({STYLES[name][0] for name in group}) == len(group)
        assert len({STYLES[name][1] for name in group}) == len(group)


def test_a_model_that_sees_no_features_has_no_ablation(sweep: Sweep) -> None:
    for rectifier in ("none", "mr", "mr_row_norm"):
        sweep.add(0.1, backbone="bpr", eta=0.2, rectifier=rectifier)
    assert not list(figures_of(read_sweeps([sweep.folder])))
