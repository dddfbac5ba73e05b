"""Table and figure of a sweep, for its folder and its parent run in the tracking store."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, stdev
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SEEDS = ("seed", "corruption.seed", "dataset.seed")
"""Axes that are averaged over."""
METRIC = "recall@10"
COLUMNS = ("recall@10", "ndcg@10", "recall@20", "ndcg@20")
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#666666", "#F0E442")
"""Okabe and Ito's colours; a figure shows no more lines than there are colours."""


@dataclass(frozen=True)
class Row:
    """One finished cell."""

    cell: str
    """Its overrides as the user typed them."""
    run_id: str | None
    summary: Mapping[str, Any]


@dataclass(frozen=True)
class Pivot:
    """Values by line and column, one per seed."""

    lines: Sequence[str]
    """Name of each combination of the axes that are neither averaged over nor the columns."""
    axis: str
    """The key whose values are the columns; empty if there is none."""
    columns: Sequence[str]
    values: Mapping[tuple[str, str], Sequence[float]]
    """By line and column."""


def axes_of(cells: Sequence[str]) -> list[dict[str, str]]:
    """For each cell its value of every key that the cells do not all share."""
    words = [dict(word.lstrip("+").partition("=")[::2] for word in cell.split(" ") if "=" in word) for cell in cells]
    keys = list(dict.fromkeys(key for cell in words for key in cell))
    varying = [key for key in keys if len({cell.get(key, "") for cell in words}) > 1]
    return [{key: cell.get(key, "") for key in varying} for cell in words]


def pivot(rows: Sequence[Row]) -> Pivot:
    """Test Recall@10 with the numeric key of most values as columns, seeds together."""
    axes = axes_of([row.cell for row in rows])
    keys = [key for key in (axes[0] if axes else {}) if key not in SEEDS]
    numeric = [key for key in keys if all(_is_number(cell[key]) for cell in axes)]
    axis = max(numeric, key=lambda key: len({cell[key] for cell in axes}), default="")
    values: dict[tuple[str, str], list[float]] = {}
    for row, cell in zip(rows, axes, strict=True):
        line = ", ".join(f"{key}={cell[key]}" for key in keys if key != axis) or "all"
        values.setdefault((line, cell.get(axis, "")), []).append(row.summary["test"][METRIC])
    columns = sorted({column for _, column in values}, key=lambda text: float(text) if axis else 0.0)
    return Pivot(list(dict.fromkeys(line for line, _ in values)), axis, columns, values)


def metrics_of(table: Pivot) -> dict[int, dict[str, float]]:
    """Mean, standard deviation and number of seeds of every line, by step: a hundred times the value of the axis.

    Steps are whole numbers in a tracking store: shares become per cent, so that its page draws the curve over eta.
    """
    found: dict[int, dict[str, float]] = {}
    for (line, column), values in table.values.items():
        step = round(100 * float(column)) if table.axis else 0
        name = "" if line == "all" else f"/{line}"
        numbers = {f"mean {METRIC}{name}": mean(values), f"seeds{name}": float(len(values))}
        if len(values) > 1:
            numbers[f"sd {METRIC}{name}"] = stdev(values)
        found.setdefault(step, {}).update(numbers)
    return found


def params_of(cells: Sequence[str]) -> dict[str, str]:
    """What varied, with its values in order of appearance, and what all cells share."""
    varied: dict[str, dict[str, None]] = {}
    for axes in axes_of(cells):
        for key, value in axes.items():
            varied.setdefault(key, {})[value] = None
    shared = [word for word in cells[0].split(" ") if word.lstrip("+").partition("=")[0] not in varied]
    return {f"varied/{key}": ", ".join(values) for key, values in varied.items()} | {"fixed": " ".join(shared)}


def markdown(table: Pivot) -> str:
    """The pivot as the note of a parent run: mean, standard deviation over seeds, number of seeds."""
    heads = [f"{table.axis}={column}" if table.axis else f"test {METRIC}" for column in table.columns]
    lines = [f"Test {METRIC}, mean ± standard deviation over seeds (number of seeds)", ""]
    lines += [f"| | {' | '.join(heads)} |", "|---" * (len(heads) + 1) + "|"]
    for line in table.lines:
        cells = [_mean_and_spread(table.values.get((line, column), ())) for column in table.columns]
        lines.append(f"| {line} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", "All cells: Artifacts, summary.csv."])


def table_text(rows: Sequence[Row]) -> str:
    """One line per cell as CSV: the keys that vary, validation and test metrics, and where it lies."""
    axes = axes_of([row.cell for row in rows])
    text = io.StringIO()
    names = [f"{split}_{name}" for split in ("valid", "test") for name in COLUMNS]
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*(axes[0] if axes else ()), *names, "best_epoch", "seconds", "job_id", "run_id"])
    for row, cell in zip(rows, axes, strict=True):
        numbers = [row.summary[split][name] for split in ("valid", "test") for name in COLUMNS]
        facts = [row.summary[name] for name in ("best_epoch", "seconds", "job_id")]
        writer.writerow([*cell.values(), *numbers, *facts, row.run_id or ""])
    return text.getvalue()


def draw(table: Pivot) -> "Figure":
    """Mean over seeds as a line or a bar, every seed as a dot."""
    import matplotlib
    from matplotlib.figure import Figure

    matplotlib.use("Agg")
    figure = Figure(figsize=(6.5, 4), layout="constrained", dpi=120)
    axis = figure.subplots()
    shown = table.lines[: len(COLOURS)]
    for number, line in enumerate(shown):
        found = {column: table.values[line, column] for column in table.columns if (line, column) in table.values}
        places = [float(column) if table.axis else float(number) for column in found]
        means = [mean(values) for values in found.values()]
        style = "o-" if table.axis else "s"
        axis.plot(places, means, style, color=COLOURS[number], label=line, markersize=5)
        for place, values in zip(places, found.values(), strict=True):
            axis.plot([place] * len(values), list(values), "o", color=COLOURS[number], alpha=0.35, markersize=3)
    axis.set(xlabel=table.axis, ylabel=f"test {METRIC}")
    if not table.axis:
        axis.set_xticks([])
    left_out = f"; {len(table.lines) - len(shown)} more lines in summary.csv" if len(shown) < len(table.lines) else ""
    axis.set_title(f"mean over seeds, dots are seeds{left_out}", fontsize=9)
    if shown != ["all"]:
        axis.legend(frameon=False, fontsize=8)
    return figure


def _mean_and_spread(values: Sequence[float]) -> str:
    if not values:
        return "-"
    spread = f" ± {stdev(values):.4f}" if len(values) > 1 else ""
    return f"{mean(values):.4f}{spread} ({len(values)})"


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
