"""Fig. 5, the ablation, and Table 2 as a picture: means and paired differences."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FormatStrFormatter, MaxNLocator

from trustmm.report.figure.line import METRIC_NAMES, SMALL, Drawing, draw_differences, set_title, style
from trustmm.report.runs.cells import CONTENT_FREE, axes_of, describe, key_of, pairs, plain, spread
from trustmm.report.runs.order import LABELS, in_order
from trustmm.report.runs.read import Runs
from trustmm.report.table.caption import seeds_fact
from trustmm.report.table.study import HEADLINE

HATCHES = ("", "//", "..", "xx")
MOST_GROUPS = 6
MOST_LINES = 40
INTERVALS = "95% t intervals (three seeds or more; hollow: fewer)"


def ablation(runs: Runs) -> Drawing | None:
    """Fig. 5: bars from zero for each variant, and beside them the paired difference to the base."""
    table = runs.table[~runs.table["backbone"].isin(CONTENT_FREE)]
    axes = [axis for axis in axes_of(table) if axis != "rectifier"]
    for axis in axes:
        table = spread(table, axis) if axis.startswith("rectifier.") else table
    groups = [part for _, part in table.groupby(key_of(table, axes), sort=False) if part["rectifier"].nunique() > 2]
    if not groups:
        return None
    shown = groups[:MOST_GROUPS]
    figure = Figure(figsize=(9.2, 1.9 * len(shown) + 0.5), layout="constrained", dpi=150)
    grid = figure.subplots(len(shown), 2 * len(HEADLINE), squeeze=False)
    for line, part in zip(grid, shown, strict=True):
        for place, metric in enumerate(HEADLINE):
            _bars(line[2 * place], part, metric, labelled=place == 0)
            _differences(line[2 * place + 1], part, metric)
        set_title(line[0], {axis: part.iloc[0][axis] for axis in dict.fromkeys(["dataset", "backbone", *axes])})
    more = f" Drawn: {len(shown)} of {len(groups)} groups." if len(groups) > len(shown) else ""
    caption = (
        "Bars: mean over seeds, from zero; dashes: single seeds. Beside them: difference to the base, paired by seed, "
        f"with {INTERVALS}.{more} {seeds_fact(table)}"
    )
    return Drawing("ablation", "Ablation (Fig. 5)", figure, caption)


def _names(part: pd.DataFrame) -> list[str]:
    return in_order("rectifier", list(part["rectifier"].unique()))


def _bars(axis: Axes, part: pd.DataFrame, metric: str, *, labelled: bool) -> None:
    names = _names(part)
    for place, name in enumerate(names):
        values = part[part["rectifier"] == name].groupby("seed")[f"test/{metric}"].mean()
        colour, hatch = style(name, place)[0], HATCHES[place % len(HATCHES)]
        axis.barh(place, values.mean(), height=0.66, color=colour, hatch=hatch, edgecolor="white")
        axis.plot(values, [place] * len(values), "|", color="black", markersize=8, alpha=0.7)
    axis.set_yticks(range(len(names)), [LABELS.get(name, name) for name in names] if labelled else [])
    _sideways(axis, len(names), f"test {METRIC_NAMES[metric]}")


def _differences(axis: Axes, part: pd.DataFrame, metric: str) -> None:
    names = _names(part)
    for pair in pairs(part, "rectifier", "none", f"test/{metric}", ["rectifier"]):
        name = pair.treated["rectifier"]
        draw_differences(axis, [pair], [names.index(name)], style(name, names.index(name)), sideways=True)
    axis.axvline(0, color="black", linewidth=0.8)
    axis.set_yticks(range(len(names)), [])
    _sideways(axis, len(names), f"{METRIC_NAMES[metric]} minus base")


def _sideways(axis: Axes, lines: int, name: str) -> None:
    axis.set_ylim(lines - 0.5, -0.5)
    axis.set_xlabel(name, fontsize=SMALL)
    axis.xaxis.set_major_locator(MaxNLocator(3))
    axis.xaxis.set_major_formatter(FormatStrFormatter("%g"))
    axis.tick_params(labelsize=SMALL)


def difference_chart(runs: Runs) -> Drawing | None:
    """Table 2 as a picture: the paired difference of every cell to its base, one line each."""
    table = runs.table[~runs.table["backbone"].isin(CONTENT_FREE)]
    found = pairs(table, "rectifier", "none", f"test/{HEADLINE[0]}")
    if not found or len(found) > MOST_LINES:
        return None
    figure = Figure(figsize=(5.4, 0.28 * len(found) + 0.9), layout="constrained", dpi=150)
    axis = figure.subplots()
    names = []
    for place, pair in enumerate(found):
        draw_differences(axis, [pair], [place], style(pair.treated["rectifier"], place), sideways=True)
        known = {**pair.values, **pair.treated}
        names.append(", ".join(LABELS.get(plain(value), plain(value)) for value in known.values() if plain(value)))
    axis.axvline(0, color="black", linewidth=0.8)
    axis.set_yticks(range(len(names)), names)
    _sideways(axis, len(names), f"difference to the base in test {METRIC_NAMES[HEADLINE[0]]}")
    fixed = describe({key: table.iloc[0][key] for key in ("dataset", "backbone") if table[key].nunique() == 1})
    caption = f"{fixed}. Paired by seed, with {INTERVALS}, not adjusted. {seeds_fact(table)}"
    return Drawing("difference_chart", "Differences to the base", figure, caption.removeprefix("the only cell. "))
