"""Fig. 2 and Fig. 4: recall over the share of wrong features and over interaction noise, differences below."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from trustmm.report.figure.line import (
    AXIS_NAMES,
    BAND_TEXT,
    ETA,
    ETA_E,
    METRIC_NAMES,
    SMALL,
    Drawing,
    Look,
    draw_differences,
    draw_line,
    legend_above,
    set_title,
    style,
    tidy,
)
from trustmm.report.runs.cells import CONTENT_FREE, Pair, axes_of, key_of, pairs, plain, spread, spread_clean
from trustmm.report.runs.order import LABELS, in_order, sort_key
from trustmm.report.runs.read import Runs
from trustmm.report.table.caption import seeds_fact
from trustmm.report.table.study import HEADLINE

METRIC = f"test/{HEADLINE[0]}"
MOST_COLUMNS = 4
WIDTH, HEIGHT, HEIGHT_BELOW = 3.1, 2.4, 1.3
"""Of a panel, and of the differences below it, in inches."""
Panel = tuple[dict[str, Any], pd.DataFrame]
Line = tuple[tuple[str, str], ...]
"""A choice and its options that vary, with their values as text."""


def modality_curves(runs: Runs) -> Drawing | None:
    """Fig. 2: recall over eta, and below each panel the paired difference to the base."""
    table = spread_clean(runs.table)
    table = table[table["corruption.eta_of"].isna() & (table["edit"] == "none")]
    panels = _panels(table[~table["backbone"].isin(CONTENT_FREE)], "rectifier", ETA)
    if not panels:
        return None
    figure, grid = _draw(panels, "rectifier", ETA)
    for (values, _), stack in zip(panels, grid, strict=True):
        _floor(stack[0], table[table["backbone"] == "lightgcn"], values)
    legend_above(figure, [stack[0] for stack in grid])
    floor = " Dashed: LightGCN, which sees no features." if "lightgcn" in set(table["backbone"]) else ""
    caption = f"{BAND_TEXT} Below: difference to the base, paired by seed.{floor} {seeds_fact(table)}"
    return Drawing("modality_curves", "Robustness when features are wrong (Fig. 2)", figure, caption)


def edit_curves(runs: Runs) -> Drawing | None:
    """Fig. 4: recall over interaction noise, a panel per operation, a line per place of the edit."""
    table = spread(spread(runs.table, "edit.op"), "corruption.edge_kind")
    panels = _panels(table, "edit", ETA_E)
    if not panels:
        return None
    figure, grid = _draw(panels, "edit", ETA_E)
    legend_above(figure, [stack[0] for stack in grid])
    caption = f"{BAND_TEXT} Below: difference to the unedited base, paired by seed. {seeds_fact(table)}"
    return Drawing("edit_curves", "Edge editing under interaction noise (Fig. 4)", figure, caption)


def _panels(table: pd.DataFrame, choice: str, x: str) -> list[Panel]:
    """Parts of a table with at least two points on the axis x, with the options that tell them apart."""
    if not len(table):
        return []
    varied = [axis for axis in axes_of(table) if axis not in (x, choice)]
    varied = [axis for axis in varied if not axis.startswith(f"{choice}.") or axis == "edit.op"]
    axes = list(dict.fromkeys(["dataset", "backbone", *varied]))
    parts = [
        ({axis: part.iloc[0][axis] for axis in axes}, part)
        for _, part in table.groupby(key_of(table, axes), sort=False)
        if part[x].nunique() > 1
    ]
    return sorted(parts, key=lambda panel: [sort_key(axis, panel[0][axis]) for axis in axes])


def _draw(panels: Sequence[Panel], choice: str, x: str) -> tuple[Figure, list[list[Axes]]]:
    compared = any({"none"} < set(part[choice]) for _, part in panels)
    looks: dict[Line, Look] = {}
    figure, grid = _grid(len(panels), 2 if compared else 1)
    for (values, part), stack in zip(panels, grid, strict=True):
        _lines(stack[0], part, choice, x, looks)
        set_title(stack[0], values)
        if compared:
            _differences(stack[1], part, choice, x, looks)
        ticks = sorted(part[x].unique())
        for axis in stack:
            axis.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
            axis.set_xlim(_padded(ticks[0], ticks[-1]))
            tidy(axis)
        stack[-1].set_xlabel(AXIS_NAMES[x], fontsize=SMALL)
    for place in range(0, len(grid), _columns(len(grid))):
        for axis, name in zip(grid[place], (f"test {METRIC_NAMES[HEADLINE[0]]}", "difference"), strict=False):
            axis.set_ylabel(name, fontsize=SMALL)
    _same_scale([values for values, _ in panels], grid)
    return figure, grid


def _padded(low: float, high: float, share: float = 0.08) -> tuple[float, float]:
    """Limits with some room for whole markers on both sides."""
    return low - share * (high - low), high + share * (high - low)


def _same_scale(panels: Sequence[Mapping[str, Any]], grid: Sequence[Sequence[Axes]]) -> None:
    """Panels of the same data get the same scale, so that flat is flat."""
    for label in {values["dataset"] for values in panels}:
        stacks = [stack for values, stack in zip(panels, grid, strict=True) if values["dataset"] == label]
        for axes in zip(*stacks, strict=True):
            limits = [axis.get_ylim() for axis in axes]
            for axis in axes:
                axis.set_ylim(_padded(min(low for low, _ in limits), max(high for _, high in limits), 0.04))


def _columns(number: int) -> int:
    """Panels side by side, the blocks about equally full."""
    return -(-number // -(-number // MOST_COLUMNS))


def _grid(number: int, high: int) -> tuple[Figure, list[list[Axes]]]:
    """Axes by panel: the curve and, if two high, its differences below it."""
    columns = _columns(number)
    blocks = -(-number // columns)
    ratios = [2.0, 1.2][:high]
    size = (WIDTH * columns + 0.3, (HEIGHT + (HEIGHT_BELOW if high > 1 else 0)) * blocks + 0.5)
    figure = Figure(figsize=size, layout="constrained", dpi=150)
    axes = figure.subplots(high * blocks, columns, squeeze=False, height_ratios=ratios * blocks)
    stacks = [
        [axes[high * block + line][column] for line in range(high)] for block, column in np.ndindex(blocks, columns)
    ]
    for axis in (axis for stack in stacks[number:] for axis in stack):
        axis.set_visible(False)
    return figure, stacks[:number]


def _lines(axis: Axes, part: pd.DataFrame, choice: str, x: str, looks: dict[Line, Look]) -> None:
    """A line per value of a choice; options of the choice that vary get lines of their own, the same in all panels."""
    for value in in_order(choice, list(part[choice].unique())):
        rows = part[part[choice] == value]
        for _, line in rows.groupby(key_of(rows, _own(part, choice)), sort=False):
            groups = [(at, group.groupby("seed")[METRIC].mean()) for at, group in line.groupby(x)]
            name = _line(part, choice, line.iloc[0])
            options = "" if value == "none" else ", ".join(f"{key.split('.')[-1]} {text}" for key, text in name[1:])
            looks.setdefault(name, style(value if options == "" else f"{value} {options}", len(looks)))
            draw_line(axis, groups, looks[name], f"{LABELS.get(value, plain(value))} {options}".strip())
    axis.yaxis.set_major_locator(MaxNLocator(5))


def _own(part: pd.DataFrame, choice: str) -> list[str]:
    """Options of a choice that vary; the operation of an edit has panels of its own."""
    return [name for name in axes_of(part) if name.startswith(f"{choice}.") and name != "edit.op"]


def _line(part: pd.DataFrame, choice: str, values: Mapping[str, Any] | pd.Series) -> Line:
    return tuple((name, plain(values[name])) for name in (choice, *_own(part, choice)))


def _differences(axis: Axes, part: pd.DataFrame, choice: str, x: str, looks: Mapping[Line, Look]) -> None:
    """Paired differences to the base over x, side by side."""
    axes = list(dict.fromkeys([*axes_of(part), x, choice]))
    lines: dict[Line, list[Pair]] = {}
    for pair in pairs(part, choice, "none", METRIC, axes):
        lines.setdefault(_line(part, choice, {**pair.values, **pair.treated}), []).append(pair)
    ticks = np.sort(part[x].unique())
    step = min(0.16 * np.diff(ticks).min(), 0.08 * np.ptp(ticks) / max(len(lines) - 1, 1))  # within the padding
    for place, (name, line) in enumerate(lines.items()):
        at = [float(pair.values[x]) + (place - (len(lines) - 1) / 2) * step for pair in line]
        draw_differences(axis, line, at, looks[name])
    axis.axhline(0, color="black", linewidth=0.8)
    axis.margins(y=0.15)  # whole markers in a low panel
    axis.yaxis.set_major_locator(MaxNLocator(4))


def _floor(axis: Axes, rows: pd.DataFrame, values: Mapping[str, Any]) -> None:
    """LightGCN with the panel's other options as a horizontal line."""
    for key in (key for key in values if key.partition(".")[0] not in ("backbone", "rectifier")):
        rows = rows[rows[key].isna() | (rows[key] == values[key])]
    if len(rows):
        mean = rows.groupby("seed")[METRIC].mean().mean()
        axis.axhline(mean, color="black", linewidth=1, linestyle=(0, (4, 3)), label="LightGCN")
