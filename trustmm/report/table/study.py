"""Tables of a study: every cell, curves over eta, paired differences with their statistics."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from trustmm.report.runs.cells import (
    CONTENT_FREE,
    Cell,
    Pair,
    axes_of,
    cells,
    describe,
    key_of,
    pairs,
    plain,
    spread_clean,
)
from trustmm.report.runs.complete import complete_curves
from trustmm.report.runs.order import in_order
from trustmm.report.runs.per_user import differences
from trustmm.report.runs.read import Runs
from trustmm.report.table.caption import caption_facts
from trustmm.report.table.environment import legend, letters, of_jobs, of_pair, of_rows
from trustmm.report.table.paper import short_metric
from trustmm.report.table.table import Number, Table, interval_text, p_text
from trustmm.seeding import stream
from trustmm.statistics.seeds import (
    Interval,
    area_under_curve,
    crossed_bootstrap,
    holm,
    over_seeds,
    per_user_p,
    relative_drop,
)
from trustmm.store.origin import compared

HEADLINE = ("recall@10", "ndcg@10")


def cell_table(runs: Runs) -> Table:
    """Every cell: mean over seeds and half-width of its t interval, by headline metric."""
    axes = axes_of(runs.table)
    by_metric = {metric: cells(runs.table, axes, f"test/{metric}") for metric in HEADLINE}
    rows = []
    for place, cell in enumerate(by_metric[HEADLINE[0]]):
        numbers = [by_metric[metric][place].interval for metric in HEADLINE]
        shown = [part for interval in numbers for part in (Number(interval.estimate), half_width(interval))]
        rows.append([*(plain(cell.values[axis]) for axis in axes), *shown, str(len(cell.by_seed))])
    metrics = [part for metric in HEADLINE for part in (short_metric(metric), "± 95%")]
    caption = f"Test, mean over seeds with the half-width of its 95% t interval. {caption_facts(runs)}"
    return Table("cells", "All cells", [*axes, *_distinct(metrics), "seeds"], rows, caption)


def _distinct(names: Sequence[str]) -> list[str]:
    """Column names, repeated ones told apart by what stands before them."""
    return [name if names.count(name) == 1 else f"{names[place - 1]} {name}" for place, name in enumerate(names)]


def half_width(interval: Interval, digits: int = 4) -> Number:
    """Shown empty for one seed."""
    return Number(interval.half_width if interval.num_seeds > 1 else float("nan"), digits)


def pivot_table(runs: Runs, metric: str = HEADLINE[0]) -> Table | None:
    """Means with the last axis across; None where fewer than two options vary."""
    axes = axes_of(runs.table)
    if len(axes) < 2:
        return None
    *down, across = axes
    found = cells(runs.table, axes, f"test/{metric}")
    values = in_order(across, list({plain(cell.values[across]): cell.values[across] for cell in found}.values()))
    rows: dict[str, dict[str, Cell]] = {}
    for cell in found:
        rows.setdefault(describe({axis: cell.values[axis] for axis in down}), {})[plain(cell.values[across])] = cell
    lines = []
    for by_value in rows.values():
        first = next(iter(by_value.values()))
        means = [by_value.get(plain(value)) for value in values]
        lines.append([*(plain(first.values[axis]) for axis in down), *[_mean(cell) for cell in means]])
    columns = [*down, *[f"{across}={plain(value)}" for value in values]]
    caption = f"Test {short_metric(metric)}, mean over seeds. {caption_facts(runs)}"
    return Table("pivot", f"{short_metric(metric)} by what varies", columns, lines, caption)


def _mean(cell: Cell | None) -> Number | str:
    return "" if cell is None else Number(cell.interval.estimate)


def difference_table(runs: Runs) -> Table:
    """Paired differences of every treated cell and its base, the statistics that decide, and those that do not."""
    axes = axes_of(runs.table)
    found = [(metric, pair) for metric in HEADLINE for pair in contrasts(runs.table, f"test/{metric}")]
    adjusted = holm([pair.interval.p for _, pair in found])
    kept = [axis for axis in ("rectifier", "edit") if any(pair.values.get(axis) for _, pair in found)]
    shown = [axis for axis in axes if axis not in ("rectifier", "edit") or axis in kept]
    where = of_jobs(runs.table)
    rows = []
    for (metric, pair), p in zip(found, adjusted, strict=True):
        interval, options = pair.interval, {**pair.treated, **dict.fromkeys(("rectifier", "edit")), **pair.values}
        share = Number(100 * interval.estimate / pair.base, 1, signed=True) if pair.base else ""
        numbers = [Number(pair.base), Number(interval.estimate, signed=True), share, interval_text(interval)]
        tests = [p_text(float(p)) if interval.num_seeds > 1 else "", *_per_user(runs, pair, metric)]
        labels = [plain(options.get(axis)) for axis in shown]
        rows.append(
            [*labels, pair.label, short_metric(metric), str(len(pair.by_seed)), *numbers, *tests, of_pair(pair, where)]
        )
    heads = ["base", "difference", "%", "95% interval, seeds", "p, Holm"]
    columns: list[str] = [
        *shown,
        "comparison",
        "metric",
        "seeds",
        *heads,
        "95% interval, seeds x users",
        "users of one seed",
        "environment",
    ]
    caption = (
        f"Differences paired by seed; the interval over seeds decides; Holm over the {len(found)} rows of this table. "
        "The interval over seeds x users (crossed bootstrap, from 5 seeds on) asks the same for new users as well. "
        "'users of one seed': p of a test over users for this trained pair only; it decides no claim. "
        "'environment': of both jobs of each pair; 'B vs A' where the treated one is B's, '(inputs of A)' where it "
        "took a prior, repair, item graph or checkpoint that A computed. "
    )
    notes = [f"Environment {line}." for line in legend(runs.table)] if rows else []
    return Table("differences", "Paired differences", columns, rows, caption + caption_facts(runs), notes)


def contrasts(table: pd.DataFrame, metric: str) -> list[Pair]:
    """Rectified minus base, edited minus base, and the full repair minus its ablations."""
    seeing = table[~table["backbone"].isin(CONTENT_FREE)]
    found = pairs(seeing, "rectifier", "none", metric, axes_of(table)) + pairs(table, "edit", "none", metric)
    for variant in ("mr_row_norm", "mr_all_pairs"):
        part = seeing[seeing["rectifier"].isin(("mr", variant))]
        found += pairs(part, "rectifier", variant, metric, axes_of(table)) if variant in set(part["rectifier"]) else []
    return found


def _per_user(runs: Runs, pair: Pair, metric: str) -> tuple[str, str]:
    """The crossed bootstrap's interval, or, for one seed, the test over its users."""
    mask = str(runs.table.iloc[0]["filter"])
    values_SU = differences(pair, runs.per_user_folders, metric, mask)
    if values_SU is None:
        return "", ""
    if len(values_SU) == 1:
        return "", p_text(per_user_p(values_SU[0]))
    interval = crossed_bootstrap(values_SU, stream(0, "report", "bootstrap"))
    return ("" if interval is None else interval_text(interval)), ""


def robustness_table(runs: Runs) -> Table:
    """Curves over eta in two numbers, by seed and then averaged: mean height, and what is lost at the largest eta."""
    axes = [axis for axis in axes_of(runs.table) if axis not in ("corruption.eta", "corruption.kind")]
    kinds = spread_clean(runs.table)
    axes += ["corruption.kind"] if kinds.get("corruption.kind", pd.Series(dtype=object)).nunique() > 1 else []
    shared = [axis for axis in axes if not axis.startswith("rectifier")]
    parts = [
        (part, complete_curves(part, f"test/{HEADLINE[0]}"))
        for _, part in kinds.groupby(key_of(kinds, axes), sort=False)
    ]
    known = letters(runs.table)
    curves = [(part.iloc[0], curve, of_rows(part, known)) for part, curve in parts if curve is not None]
    bases = {describe(first[shared]): rest for first, *rest in curves if first["rectifier"] == "none"}
    rows = []
    for first, curve, where in curves:
        alone = first["rectifier"] == "none"
        base, there = (None, where) if alone else bases.get(describe(first[shared]), (None, where))
        labels = [*(plain(first[axis]) for axis in axes), f"{curve.columns[0]:g}-{curve.columns[-1]:g}"]
        rows.append([*labels, *_curve_numbers(curve, base), str(len(curve)), compared([(where, there)])])
    heads = ["eta", "area", "area ± 95%", "drop, %", "drop ± 95%", "area minus base", "95% interval", "seeds"]
    columns = [*axes, *heads, "environment"]
    caption = (
        f"Area: mean height of the {short_metric(HEADLINE[0])} curve. Drop: share lost from the first to the last eta. "
        "Points that most seeds lack are left out, and seeds that lack one of the others. "
        f"{caption_facts(runs)}"
    )
    return Table("robustness", "Curves over eta in two numbers", columns, rows, caption)


def _curve_numbers(curve: pd.DataFrame, base: pd.DataFrame | None) -> list[Number | str]:
    """Area and drop with their half-widths, and the paired difference of the areas where there is a base."""
    area, drops = over_seeds(_areas(curve).to_numpy()), [drop for drop in _drops(curve) if np.isfinite(drop)]
    shown: list[Number | str] = [Number(area.estimate), half_width(area), "", ""]
    if drops:
        drop = over_seeds(drops)
        shown[2:] = [Number(drop.estimate, 1), half_width(drop, 1)]
    if base is None or list(base.columns) != list(curve.columns):
        return [*shown, "", ""]
    gains = (_areas(curve) - _areas(base)).dropna()
    if not len(gains):
        return [*shown, "", ""]
    gain = over_seeds(gains.to_numpy())
    return [*shown, Number(gain.estimate, signed=True), interval_text(gain)]


def _areas(curve: pd.DataFrame) -> pd.Series:
    return pd.Series([area_under_curve(curve.columns, line) for line in curve.to_numpy()], index=curve.index)


def _drops(curve: pd.DataFrame) -> list[float]:
    return [100 * relative_drop(line[0], line[-1]) for line in curve.to_numpy()]


def sensitivity_table(runs: Runs) -> Table:
    """Recall over lam (down) and tau (across), with the best mean bold."""
    table = runs.table[runs.table["rectifier"] != "none"]
    axes = [axis for axis in axes_of(table) if axis not in ("rectifier.lam", "rectifier.tau")]
    metric = f"test/{HEADLINE[0]}"
    taus = sorted(table["rectifier.tau"].dropna().unique())
    rows = []
    for _, part in table.groupby(key_of(table, axes), sort=False):
        grid = part.pivot_table(index="rectifier.lam", columns="rectifier.tau", values=metric, aggfunc="mean")
        for lam, line in grid.iterrows():
            values = [line.get(tau, np.nan) for tau in taus]
            numbers = [Number(value, bold=value == grid.max().max()) for value in values]
            rows.append([*(plain(part.iloc[0][axis]) for axis in axes), plain(lam), *numbers])
    caption = (
        f"Test {short_metric(HEADLINE[0])}, mean over seeds; the largest mean of the grid is bold, but choose by "
        f"validation. {caption_facts(runs)}"
    )
    columns = [*axes, "lam", *[f"tau={tau:g}" for tau in taus]]
    return Table("sensitivity", "Fig. 3 in numbers: lam and tau", columns, rows, caption)
