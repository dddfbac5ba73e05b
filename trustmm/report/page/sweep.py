"""Table and figure of a sweep, for its folder and its parent run in the tracking store."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import TYPE_CHECKING

from trustmm.report.palette import IN_TURN
from trustmm.store.files import atomic
from trustmm.store.origin import origins
from trustmm.store.pivot import METRIC, Pivot, pivot
from trustmm.store.sweep_folder import FinishedCell, varying_options

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMNS = ("recall@10", "ndcg@10", "recall@20", "ndcg@20")


def sweep_page(folder: Path, rows: Sequence[FinishedCell]) -> str:
    """Write ``summary.csv`` and ``summary.png`` into the folder of a sweep; its page as Markdown."""
    with atomic(folder / "summary.csv") as path:
        path.write_text(table_text(rows), encoding="utf-8")
    table = pivot(rows)
    with atomic(folder / "summary.png") as path:
        draw(table).savefig(path)
    return f"{markdown(table)}\n\nAll cells: Artifacts, summary.csv."


def markdown(table: Pivot) -> str:
    """The pivot in Markdown: mean, standard deviation over seeds, number of seeds."""
    heads = [f"{table.axis}={column}" if table.axis else f"test {METRIC}" for column in table.columns]
    lines = [f"Test {METRIC}, mean ± standard deviation over seeds (number of seeds)", ""]
    lines += [f"| | {' | '.join(heads)} |", "|---" * (len(heads) + 1) + "|"]
    for line in table.lines:
        places = [(line, column) for column in table.columns]
        cells = [_mean_and_spread(table.values.get(place, ()), table.made.get(place, "")) for place in places]
        lines.append(f"| {line} | {' | '.join(cells)} |")
    notes = [f"\nEnvironment {one}." for one in table.environments]
    return "\n".join([*lines, *notes])


def table_text(rows: Sequence[FinishedCell]) -> str:
    """One line per cell as CSV: the keys that vary, validation and test metrics, and where it lies."""
    axes = varying_options([row.cell for row in rows])
    text = io.StringIO()
    names = [f"{split}_{name}" for split in ("valid", "test") for name in COLUMNS]
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*(axes[0] if axes else ()), *names, "best_epoch", "seconds", "job_id", "run_id", "environment"])
    for row, cell, where in zip(rows, axes, origins([row.summary for row in rows]), strict=True):
        numbers = [row.summary[split][name] for split in ("valid", "test") for name in COLUMNS]
        facts = [row.summary[name] for name in ("best_epoch", "seconds", "job_id")]
        writer.writerow([*cell.values(), *numbers, *facts, row.run_id or "", where])
    return text.getvalue()


def draw(table: Pivot) -> "Figure":
    """Mean over seeds as a line or a bar, every seed as a dot."""
    import matplotlib
    from matplotlib.figure import Figure

    matplotlib.use("Agg")
    figure = Figure(figsize=(6.5, 4), layout="constrained", dpi=120)
    axis = figure.subplots()
    shown = table.lines[: len(IN_TURN)]
    for number, line in enumerate(shown):
        found = {column: table.values[line, column] for column in table.columns if (line, column) in table.values}
        places = [float(column) if table.axis else float(number) for column in found]
        means = [mean(values) for values in found.values()]
        style = "o-" if table.axis else "s"
        axis.plot(places, means, style, color=IN_TURN[number], label=line, markersize=5)
        for place, values in zip(places, found.values(), strict=True):
            axis.plot([place] * len(values), list(values), "o", color=IN_TURN[number], alpha=0.35, markersize=3)
    axis.set(xlabel=table.axis, ylabel=f"test {METRIC}")
    if not table.axis:
        axis.set_xticks([])
    left_out = f"; {len(table.lines) - len(shown)} more lines in summary.csv" if len(shown) < len(table.lines) else ""
    axis.set_title(f"mean over seeds, dots are seeds{left_out}", fontsize=9)
    if shown != ["all"]:
        axis.legend(frameon=False, fontsize=8)
    return figure


def _mean_and_spread(values: Sequence[float], where: str) -> str:
    if not values:
        return "-"
    spread = f" ± {stdev(values):.4f}" if len(values) > 1 else ""
    return f"{mean(values):.4f}{spread} ({len(values)}) {where}".rstrip()
