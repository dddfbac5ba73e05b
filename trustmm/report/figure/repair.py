"""Does the repair repair? Diagnostics over eta."""

from collections.abc import Mapping

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from trustmm.report.figure.line import (
    AXIS_NAMES,
    BLUE,
    ETA,
    GREY,
    LONG,
    ORANGE,
    SHORT,
    SMALL,
    Drawing,
    Look,
    draw_line,
    tidy,
)
from trustmm.report.runs.cells import axes_of
from trustmm.report.runs.order import LABELS, in_order
from trustmm.report.runs.read import Runs
from trustmm.report.table.caption import seeds_fact

BEFORE: Look = (GREY, "o", SHORT)
FIRST: Look = (ORANGE, "s", "-")
SECOND: Look = (BLUE, "^", LONG)
PANELS: Mapping[str, Mapping[str, tuple[str, Look]]] = {
    "cosine to the clean feature": {
        "touched/observed_to_clean": ("wrong, before", BEFORE),
        "touched/rectified_to_clean": ("wrong, after", FIRST),
        "untouched/rectified_to_clean": ("right, after", SECOND),
    },
    "neighbours shared with clean": {
        "untouched/observed_knn_overlap": ("right, before", BEFORE),
        "touched/rectified_knn_overlap": ("wrong, after", FIRST),
        "untouched/rectified_knn_overlap": ("right, after", SECOND),
    },
    "hubness (Gini of column mass)": {
        "hub_gini": ("the plan in use", FIRST),
        "hub_gini_row_norm": ("rows normalised", SECOND),
    },
}
"""Titles of the panels, and the diagnostics that each draws."""


def repair_curves(runs: Runs) -> Drawing | None:
    """Cosine to the clean feature, neighbours and hubness over eta, a row per modality; of the full repair."""
    table = runs.table[(runs.table["rectifier"] != "none") & runs.table["corruption.eta_of"].isna()]
    names = [name for name in table.columns if name.startswith("diagnostics/") and name.endswith("/hub_gini")]
    modalities = sorted(name.split("/")[1] for name in names if table[name].notna().any())
    others = [axis for axis in axes_of(table) if axis not in (ETA, "rectifier") and not axis.startswith("backbone")]
    if not modalities or table[ETA].nunique() < 2 or others:
        return None
    drawn = in_order("rectifier", list(table["rectifier"].unique()))[0]
    figure = Figure(figsize=(9.3, 2.4 * len(modalities) + 0.4), layout="constrained", dpi=150)
    grid = figure.subplots(len(modalities), len(PANELS), squeeze=False)
    for axes, modality in zip(grid, modalities, strict=True):
        for axis, (title, lines) in zip(axes, PANELS.items(), strict=True):
            _panel(axis, table[table["rectifier"] == drawn], modality, lines)
            axis.set_title(f"{modality}: {title}", fontsize=9)
    for axis in grid[-1]:
        axis.set_xlabel(AXIS_NAMES[ETA], fontsize=SMALL)
        axis.legend(
            loc="upper center", bbox_to_anchor=(0.5, -0.24), ncols=3, frameon=False, fontsize=7, columnspacing=1
        )
    caption = (
        f"Rectifier {LABELS.get(drawn, drawn)}; wrong and right: items with and without permuted features. Line: mean "
        f"over seeds; band: 95% t interval (three seeds or more). {seeds_fact(table)}"
    )
    return Drawing("repair", "The repair itself", figure, caption)


def _panel(axis: Axes, rows: pd.DataFrame, modality: str, lines: Mapping[str, tuple[str, Look]]) -> None:
    for name, (label, look) in lines.items():
        column = f"diagnostics/{modality}/{name}"
        if column in rows and rows[column].notna().any():
            known = rows[rows[column].notna()].astype({column: float})
            groups = [(at, group.groupby("seed")[column].mean()) for at, group in known.groupby(ETA)]
            draw_line(axis, groups, look, label)
    axis.set_ylim(-0.05, 1.05)
    etas = sorted(rows[ETA].unique())
    axis.set_xticks(etas, [f"{eta:g}" for eta in etas])
    tidy(axis)
