"""Figures of a study: history, importances, slices and, with several metrics, the Pareto front."""

from collections.abc import Mapping, Sequence
from itertools import accumulate, combinations
from math import ceil, log10
from pathlib import Path
from typing import Any, Protocol

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from trustmm.report.palette import BLUE, GREY, RED
from trustmm.store.files import atomic

matplotlib.use("Agg")
DPI = 150


class Importances(Protocol):
    """Share of a metric's variation that each parameter explains."""

    @property
    def metric(self) -> str: ...  # noqa: D102
    @property
    def evaluator(self) -> str: ...  # noqa: D102
    @property
    def shares(self) -> Mapping[str, float]: ...  # noqa: D102


class Study(Protocol):
    """What the figures show of a study; a trial has a number, values by metric, params and user_attrs as Optuna's."""

    @property
    def folder(self) -> Path: ...  # noqa: D102
    @property
    def metrics(self) -> Sequence[str]: ...  # noqa: D102
    @property
    def directions(self) -> Sequence[str]: ...  # noqa: D102
    @property
    def axes(self) -> Sequence[Any]: ...  # noqa: D102
    @property
    def trials(self) -> Sequence[Any]: ...  # noqa: D102
    @property
    def states(self) -> Sequence[str]: ...  # noqa: D102
    @property
    def best(self) -> Sequence[Any]: ...  # noqa: D102
    @property
    def importances(self) -> Sequence[Importances]: ...  # noqa: D102


def finished_trials(report: Study) -> list[Any]:
    """Trials with a value."""
    return [trial for trial, state in zip(report.trials, report.states, strict=True) if state == "finished"]


def draw_study(report: Study) -> None:
    """Write the figures of a study with finished trials into its folder, as ``study_*.png``."""
    finished = finished_trials(report)
    if not finished:
        return
    figures = {"history": draw_history(report), "slices": draw_slices(report, finished)}
    known = [found for found in report.importances if found.shares]
    if known:
        figures["importances"] = draw_importances(known, len(finished))
    if len(report.metrics) > 1:
        figures["pareto"] = draw_pareto(report, finished)
    for name, figure in figures.items():
        with atomic(report.folder / f"study_{name}.png") as path:
            figure.savefig(path, dpi=DPI)


def draw_history(report: Study) -> Figure:
    """Every trial's value in order of asking, and the best so far."""
    metrics = report.metrics
    figure = Figure(figsize=(6, 3 * len(metrics)), layout="constrained")
    panels = figure.subplots(len(metrics), 1, squeeze=False, sharex=True)[:, 0]
    for place, (axis, metric) in enumerate(zip(panels, metrics, strict=True)):
        finished = finished_trials(report)
        numbers, values = [trial.number for trial in finished], [trial.values[place] for trial in finished]
        better = max if report.directions[place] == "maximize" else min
        axis.step(numbers, list(accumulate(values, better)), where="post", color=RED, label="best so far")
        axis.plot(numbers, values, "o", color=BLUE, markersize=4.5, label="finished")
        _mark_others(axis, report)
        axis.set(ylabel=f"validation {_title(metric)}")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        _tidy(axis)
    panels[-1].set_xlabel("trial")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(handles), frameon=False, fontsize=9)
    return figure


def _mark_others(axis: Axes, report: Study) -> None:
    """Trials without a value of their own, at the lower edge."""
    for state, marker in (("pruned", "|"), ("failed", "x"), ("interrupted", "_")):
        numbers = [one.number for one, found in zip(report.trials, report.states, strict=True) if found == state]
        if numbers:
            places = [0.03] * len(numbers)
            edge = axis.get_xaxis_transform()
            axis.plot(numbers, places, marker, color=GREY, markersize=6, label=state, transform=edge, clip_on=False)


def draw_importances(found: Sequence[Importances], num_trials: int) -> Figure:
    """Bars of the shares, largest on top."""
    count = max(len(one.shares) for one in found)
    figure = Figure(figsize=(6, (0.9 + 0.36 * count) * len(found)), layout="constrained")
    panels = figure.subplots(len(found), 1, squeeze=False)[:, 0]
    for axis, one in zip(panels, found, strict=True):
        names = list(one.shares)[::-1]
        bars = axis.barh(names, [one.shares[name] for name in names], color=BLUE, height=0.62)
        axis.bar_label(bars, fmt="{:.2f}", padding=3, fontsize=9)
        axis.set_xlim(0, 1.12 * max(one.shares.values()))
        axis.set_title(f"Importance for {_title(one.metric)}", fontsize=10, loc="left")
        axis.set_xlabel(f"share of variance, {one.evaluator}, {num_trials} trials")
        _tidy(axis)
        axis.grid(False, axis="y")
    return figure


def draw_slices(report: Study, finished: Sequence[Any]) -> Figure:
    """The metric over every parameter, one small panel each; later trials are darker."""
    axes, metrics = report.axes, report.metrics
    columns = min(3, len(axes))
    rows = ceil(len(axes) / columns)
    figure = Figure(figsize=(2.9 * columns + 0.6, (2.5 * rows) * len(metrics)), layout="constrained")
    panels = figure.subplots(rows * len(metrics), columns, squeeze=False, sharey=len(metrics) == 1)
    marks: Any = None
    for place, metric in enumerate(metrics):
        for number in range(rows * columns):
            panel = panels[place * rows + number // columns][number % columns]
            if number >= len(axes):
                panel.set_visible(False)
                continue
            marks = _slice(panel, axes[number], place, finished)
            if number % columns == 0:
                panel.set_ylabel(f"validation {_title(metric)}")
    bar = figure.colorbar(marks, ax=panels, location="right", shrink=0.8, pad=0.01)
    bar.set_label("trial")
    bar.ax.yaxis.set_major_locator(MaxNLocator(integer=True))
    return figure


def _slice(panel: Axes, axis: Any, place: int, finished: Sequence[Any]) -> Any:
    values = [trial.params[axis.key] for trial in finished]
    points = [axis.choices.index(value) for value in values] if axis.kind == "choice" else values
    heights, numbers = [trial.values[place] for trial in finished], [trial.number for trial in finished]
    marks = panel.scatter(points, heights, c=numbers, cmap="cividis_r", s=18, edgecolors=GREY, linewidths=0.4)
    _scale(panel, axis)
    panel.set_xlabel(axis.key)
    _tidy(panel)
    return marks


def _scale(panel: Axes, axis: Any) -> None:
    """The whole range of a parameter, with ticks that do not touch."""
    if axis.kind == "choice":
        names = [str(choice) for choice in axis.choices]
        long = max(map(len, names)) * len(names) > 20
        panel.set_xticks(
            range(len(names)), names, fontsize=8, rotation=30 if long else 0, ha="right" if long else "center"
        )
        panel.set_xlim(-0.5, len(names) - 0.5)
        return
    if axis.log:
        decades = log10(axis.high / axis.low)
        panel.set_xscale("log")
        panel.set_xlim(axis.low / 10 ** (0.05 * decades), axis.high * 10 ** (0.05 * decades))
        panel.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if decades < 2 else (1,)))
        panel.xaxis.set_major_formatter("{x:g}")
        panel.xaxis.set_minor_formatter(NullFormatter())
        return
    room = 0.05 * (axis.high - axis.low)
    panel.set_xlim(axis.low - room, axis.high + room)
    panel.xaxis.set_major_locator(MaxNLocator(4, integer=axis.kind == "int"))


def draw_pareto(report: Study, finished: Sequence[Any]) -> Figure:
    """Every pair of metrics; the front, which no trial beats in everything, in front."""
    metrics = report.metrics
    pairs = list(combinations(range(len(metrics)), 2))
    figure = Figure(figsize=(4.6 * len(pairs), 3.8), layout="constrained")
    for axis, (first, second) in zip(figure.subplots(1, len(pairs), squeeze=False)[0], pairs, strict=True):
        others = [trial for trial in finished if trial.number not in {best.number for best in report.best}]
        axis.plot(*_columns(others, first, second), "o", color=GREY, alpha=0.6, markersize=4.5, label="beaten")
        front = sorted(report.best, key=lambda trial: trial.values[first])
        axis.plot(*_columns(front, first, second), "D", color=RED, markersize=6, label="Pareto front")
        axis.set(xlabel=f"validation {_title(metrics[first])}", ylabel=f"validation {_title(metrics[second])}")
        axis.legend(frameon=False, fontsize=9)
        _tidy(axis)
    return figure


def _columns(trials: Sequence[Any], first: int, second: int) -> tuple[list[float], list[float]]:
    return [trial.values[first] for trial in trials], [trial.values[second] for trial in trials]


def _title(metric: str) -> str:
    name, _, cutoff = metric.partition("@")
    known = {"ndcg": "NDCG", "map": "MAP", "hit": "hit rate"}
    return f"{known.get(name, name.capitalize())}@{cutoff}"


def _tidy(axis: Axes) -> None:
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(True, color="#dddddd", linewidth=0.6)
    axis.set_axisbelow(True)
