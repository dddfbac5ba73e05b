"""Fig. 3: recall and NDCG over lam and tau."""

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter, NullLocator

from trustmm.report.figure.line import (
    BAND_TEXT,
    GREY,
    METRIC_NAMES,
    SMALL,
    STYLES,
    Drawing,
    draw_line,
    legend_above,
    tidy,
)
from trustmm.report.runs.cells import axes_of, key_of, plain
from trustmm.report.runs.read import Runs
from trustmm.report.table.caption import seeds_fact
from trustmm.report.table.study import HEADLINE

DEFAULTS = {"rectifier.lam": 0.5, "rectifier.tau": 0.1}
"""Where a knob stands while the other turns: the nearest value that the grid has."""
NAMES = {"rectifier.lam": "λ, share of the feature kept", "rectifier.tau": "temperature τ"}


def sensitivity(runs: Runs) -> Drawing | None:
    """A row per metric, a column per knob that varies; the unrectified base as a line where there is one."""
    table, base = (runs.table[(runs.table["rectifier"] == "none") == flag] for flag in (False, True))
    knobs = [name for name in DEFAULTS if table[name].nunique() > 1]
    figure = Figure(figsize=(3.4 * len(knobs) + 0.3, 4.8), layout="constrained", dpi=150)
    grid = figure.subplots(len(HEADLINE), len(knobs), squeeze=False, sharey="row")
    fixed = []
    for column, knob in enumerate(knobs):
        [other] = set(DEFAULTS) - {knob}
        value = _nearest(table[other], DEFAULTS[other])
        fixed.append(f"{knob.split('.')[1]} at {other.split('.')[1]} {value:g}")
        for axis, metric in zip(grid[:, column], HEADLINE, strict=True):
            _lines(axis, table[table[other] == value], knob, metric)
            _knob_axis(axis, knob, sorted(table[knob].dropna().unique()))
            if len(base) and base["seed"].is_unique:
                mean = base[f"test/{metric}"].mean()
                axis.axhline(mean, color=GREY, linewidth=1, linestyle=(0, (4, 3)), label="base, mean")
        grid[-1][column].set_xlabel(NAMES[knob], fontsize=SMALL)
    for line, metric in zip(grid, HEADLINE, strict=True):
        line[0].set_ylabel(f"test {METRIC_NAMES[metric]}", fontsize=SMALL)
    legend_above(figure, [grid[0][0]])
    caption = f"Drawn: {', '.join(fixed)}. {BAND_TEXT} {seeds_fact(table)}"
    return Drawing("sensitivity", "Sensitivity to lam and tau (Fig. 3)", figure, caption)


def _nearest(values: pd.Series, wanted: float) -> float:
    return float(min(values.dropna().unique(), key=lambda value: abs(value - wanted)))


def _lines(axis: Axes, table: pd.DataFrame, knob: str, metric: str) -> None:
    """A line per cell of the other axes."""
    others = [name for name in axes_of(table) if name != knob]
    shown = list(dict.fromkeys(["dataset", "backbone", *others]))
    for place, (_, part) in enumerate(table.groupby(key_of(table, shown), sort=False)):
        look = list(STYLES.values())[1 + place % (len(STYLES) - 1)]
        label = ", ".join(plain(part.iloc[0][name]) for name in shown if plain(part.iloc[0][name]))
        groups = [(at, group.groupby("seed")[f"test/{metric}"].mean()) for at, group in part.groupby(knob)]
        draw_line(axis, groups, look, label)


def _knob_axis(axis: Axes, knob: str, values: Sequence[float]) -> None:
    if knob == "rectifier.tau":
        axis.set_xscale("log")
        axis.xaxis.set_minor_locator(NullLocator())
        axis.xaxis.set_minor_formatter(NullFormatter())
    axis.set_xticks(values, [f"{value:g}" for value in values])
    axis.yaxis.set_major_locator(MaxNLocator(5))
    tidy(axis)
