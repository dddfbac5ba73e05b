"""What all figures share: lines with bands over seeds, titles, legends.

Every line has its own colour, marker and dash.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from textwrap import wrap
from typing import Any

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from trustmm.report.palette import BLUE, GREEN, GREY, ORANGE, PURPLE, RED, SKY
from trustmm.report.runs.cells import Pair, describe, plain
from trustmm.report.runs.studies import STUDY
from trustmm.statistics.seeds import over_seeds

matplotlib.use("Agg")
matplotlib.rcParams["svg.hashsalt"] = "trustmm"  # equal figures are equal files
matplotlib.rcParams["pdf.fonttype"] = 42  # whole TrueType fonts: publishers refuse type 3
LONG, SHORT, MIXED = (0, (5, 2)), (0, (2, 1.5)), (0, (6, 2, 1.5, 2))
Look = tuple[str, str, Any]
"""Colour, marker, dash."""
STYLES: Mapping[str, Look] = {
    "none": (GREY, "o", "-"),
    "mr": (ORANGE, "s", "-"),
    "mr_row_norm": (BLUE, "^", LONG),
    "mr_all_pairs": (GREEN, "D", SHORT),
    "train_only": (RED, "^", LONG),
    "graph_only": (BLUE, "D", SHORT),
    "both": (PURPLE, "s", MIXED),
    "smooth": (SKY, "v", SHORT),
    "trust": (PURPLE, "P", MIXED),
    "oracle": (RED, "X", LONG),
}
"""Look of every known value; others get the next in turn."""
ETA, ETA_E = "corruption.eta", "corruption.eta_e"
AXIS_NAMES = {ETA: "share of items with wrong features, η", ETA_E: "interaction noise, η$_e$"}
METRIC_NAMES = {"recall@10": "Recall@10", "ndcg@10": "NDCG@10"}
BAND_FROM = 3
"""Fewest seeds with a band; with two seeds the t interval is too wide to be useful."""
BAND_TEXT = "Line: mean over seeds; band: 95% t interval of the mean (three seeds or more); dashes: single seeds."
TITLE = 38
"""Characters of a title that are no wider than a panel."""
SMALL = 8
"""Size of text beside the axes."""


@dataclass(frozen=True)
class Drawing:
    """A figure and its words."""

    name: str
    title: str
    figure: Figure
    caption: str


def style(value: Any, place: int) -> Look:
    """Look of a value, the n-th of its figure."""
    spare = [look for key, look in STYLES.items() if key not in ("none", "mr")]
    return STYLES.get(str(value), spare[place % len(spare)])


def draw_line(axis: Axes, groups: Sequence[tuple[Any, pd.Series]], look: Look, label: str) -> None:
    """Means over seeds, the band of their t interval, and a dash per seed.

    Args:
        axis: to draw on.
        groups: place on the x axis and values by seed.
        look: of the line.
        label: in the legend.
    """
    colour, marker, dash = look
    places, intervals = [at for at, _ in groups], [over_seeds(values.to_numpy()) for _, values in groups]
    means = [interval.estimate for interval in intervals]
    axis.plot(places, means, marker=marker, linestyle=dash, color=colour, label=label, markersize=4.5, linewidth=1.4)
    for at, values in groups:
        if len(values) > 1:
            axis.plot([at] * len(values), values, "_", color=colour, alpha=0.45, markersize=5)
    if min(interval.num_seeds for interval in intervals) >= BAND_FROM:
        low, high = [interval.low for interval in intervals], [interval.high for interval in intervals]
        axis.fill_between(places, low, high, color=colour, alpha=0.15, linewidth=0)


def draw_differences(
    axis: Axes, found: Sequence[Pair], places: Sequence[float], look: Look, *, sideways: bool = False
) -> None:
    """Paired differences with their t intervals; a hollow marker has too few seeds for one."""
    colour, marker, _ = look
    for place, pair in zip(places, found, strict=True):
        interval = pair.interval
        known = interval.num_seeds >= BAND_FROM
        error = interval.half_width if known else 0.0
        x, y = (interval.estimate, place) if sideways else (place, interval.estimate)
        width, height = (error, None) if sideways else (None, error)
        face = colour if known else "white"
        axis.errorbar(x, y, height, width, fmt=marker, color=colour, mfc=face, markersize=4.5, capsize=2)


def tidy(axis: Axes) -> None:
    """Small ticks and light horizontal lines."""
    axis.tick_params(labelsize=SMALL)
    axis.grid(axis="y", linewidth=0.4, alpha=0.5)


def set_title(axis: Axes, values: Mapping[str, Any]) -> None:
    """What tells a panel apart: its data, backbone, operation; other options on a line of their own."""
    known = (STUDY, "dataset", "backbone", "edit.op", "corruption.kind")
    head = ", ".join(plain(values[key]) for key in known if key in values and plain(values[key]))
    rest = {key: value for key, value in values.items() if key not in known and plain(value)}
    lines = [head, *([describe(rest)] if rest else [])]
    axis.set_title("\n".join(part for line in lines for part in wrap(line, TITLE)), fontsize=9)


def legend_above(figure: Figure, axes: Sequence[Axes]) -> None:
    """One legend above all panels, every name once."""
    named: dict[str, Any] = {}
    for axis in axes:
        handles, labels = axis.get_legend_handles_labels()
        named |= dict(zip(labels, handles, strict=True))
    columns = min(len(named), 5)
    figure.legend(
        list(named.values()), list(named), loc="outside upper center", ncols=columns, frameon=False, fontsize=SMALL
    )
