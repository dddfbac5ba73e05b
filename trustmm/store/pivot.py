"""The results of a sweep by what varied, averaged over seeds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, stdev
from typing import Any

from trustmm.store.origin import across, origins
from trustmm.store.sweep_folder import FinishedCell, varying_options

SEEDS = ("seed", "corruption.seed", "dataset.seed")
"""Axes that are averaged over."""
METRIC = "recall@10"


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
    made: Mapping[tuple[str, str], str]
    """In letters, what the jobs of a line and column were computed in, see `store.origin`; empty if all in one."""
    environments: Sequence[str]
    """A line for each letter."""


def pivot(rows: Sequence[FinishedCell]) -> Pivot:
    """Test Recall@10 with the numeric key of most values as columns, averaged over seeds."""
    axes = varying_options([row.cell for row in rows])
    keys = [key for key in (axes[0] if axes else {}) if key not in SEEDS]
    numeric = [key for key in keys if all(_is_number(cell[key]) for cell in axes)]
    axis = max(numeric, key=lambda key: len({cell[key] for cell in axes}), default="")
    values: dict[tuple[str, str], list[float]] = {}
    made: dict[tuple[str, str], set[str]] = {}
    jobs = [row.summary for row in rows]
    for row, cell, where in zip(rows, axes, origins(jobs), strict=True):
        line = ", ".join(f"{key}={cell[key]}" for key in keys if key != axis) or "all"
        place = (line, cell.get(axis, ""))
        values.setdefault(place, []).append(row.summary["test"][METRIC])
        made.setdefault(place, set()).add(where)
    columns = sorted({column for _, column in values}, key=lambda text: float(text) if axis else 0.0)
    environments = across(jobs)
    letters = {place: " + ".join(sorted(found)) for place, found in made.items()} if environments else {}
    return Pivot(list(dict.fromkeys(line for line, _ in values)), axis, columns, values, letters, environments)


@dataclass(frozen=True)
class BestCell:
    """The cell with the largest mean of a validation metric over seeds."""

    name: str
    metrics: Mapping[str, float]
    """Its mean in validation and in test."""


def best_cell(rows: Sequence[FinishedCell]) -> BestCell | None:
    """What validation would choose among the cells of a sweep; None where there is only one."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for row, axes in zip(rows, varying_options([row.cell for row in rows]), strict=True):
        name = " ".join(f"{key}={value}" for key, value in axes.items() if key not in SEEDS)
        found.setdefault(name, []).append(row.summary)
    if len(found) < 2:
        return None
    means = {
        name: {f"{split} {METRIC}": mean(one[split][METRIC] for one in cells) for split in ("valid", "test")}
        for name, cells in found.items()
    }
    best = max(means, key=lambda name: means[name][f"valid {METRIC}"])
    return BestCell(best, means[best])


def metrics_of(table: Pivot) -> dict[int, dict[str, float]]:
    """Mean, standard deviation and number of seeds of every line, by step (a hundred times the value of the axis).

    Steps in a tracking store are whole numbers. Shares become per cent, so that its page draws the curve over eta.
    """
    found: dict[int, dict[str, float]] = {}
    for (line, column), values in table.values.items():
        step = round(100 * float(column)) if table.axis else 0
        name = line.replace("=", " ").replace(",", "")  # as a tracking store permits
        numbers = {f"mean {METRIC}/{name}": mean(values), f"number of seeds/{name}": float(len(values))}
        if len(values) > 1:
            numbers[f"sd {METRIC}/{name}"] = stdev(values)
        found.setdefault(step, {}).update(numbers)
    return found


def params_of(cells: Sequence[str]) -> dict[str, str]:
    """The keys that vary, with their values in order of appearance, and the options that all cells share."""
    varied: dict[str, dict[str, None]] = {}
    for axes in varying_options(cells):
        for key, value in axes.items():
            varied.setdefault(key, {})[value] = None
    shared = [word for word in cells[0].split(" ") if word.lstrip("+").partition("=")[0] not in varied]
    return {f"varied/{key}": ", ".join(values) for key, values in varied.items()} | {"fixed": " ".join(shared)}


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
