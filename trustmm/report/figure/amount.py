"""How much should be edited? What cross-validation over edges expected of every ratio, beside what is so."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from trustmm.report.figure.line import BLUE, ETA_E, GREEN, GREY, ORANGE, PURPLE, SMALL, Drawing, legend_above, tidy
from trustmm.report.runs.cells import plain
from trustmm.report.runs.read import Runs
from trustmm.report.table.caption import seeds_fact

ALIGNMENTS = "diagnostics/edit/alignment", "diagnostics/edit/alignment_test"
COLOURS = (GREY, BLUE, ORANGE, GREEN, PURPLE)
LEAST_POINTS = 4
GAIN, TRUE = "diagnostics/edit/gain_", "diagnostics/edit/true_gain_"


def amount_curves(runs: Runs) -> Drawing | None:
    """A row per operation, a column per noise: gain over the ratio, estimated and true, and the chosen ratio."""
    table = runs.table
    known = [name for name in table.columns if name.startswith(GAIN) and not name.endswith("_error")]
    table = table[table[known].notna().all(axis=1)] if known else table[:0]
    if not len(table):
        return None
    rows, columns = (list(table.groupby(keys, dropna=False)) for keys in ("edit.op", [ETA_E, *_noise(table)]))
    figure = Figure(figsize=(0.6 + 2.5 * len(columns), 0.6 + 2.2 * len(rows)), layout="constrained", dpi=150)
    grid = figure.subplots(len(rows), len(columns), squeeze=False, sharex=True)
    for axes, (op, of_op) in zip(grid, rows, strict=True):
        for axis, (values, of_noise) in zip(axes, columns, strict=True):
            part = of_op[of_op.index.isin(of_noise.index)]
            _panel(axis, part, sorted(float(name.removeprefix(GAIN)) for name in known))
            words = [plain(value) for value in values if plain(value)]
            axis.set_title(f"{op}, η$_e$ {' '.join(words)}", fontsize=9)
    for axis in grid[-1]:
        axis.set_xlabel("ratio", fontsize=SMALL)
    legend_above(figure, list(grid.ravel()))
    caption = (
        "Gain of an edit in the mean of 1 - p, by a cheap prior fitted to the edited edges. Expected: on edges left "
        "out, with the standard error over folds. True: on test pairs, which the method never sees. Dotted: the chosen "
        f"ratios. Means over seeds. {seeds_fact(table)}"
    )
    return Drawing("amount_curves", "How much the prior deserves to edit", figure, caption)


def alignment_scatter(runs: Runs) -> Drawing | None:
    """Does the alignment that folds of training edges say follow that of clean test pairs? A point per job."""
    table, (mine, true) = runs.table, ALIGNMENTS
    table = table.dropna(subset=[mine, true]).drop_duplicates(["dataset", ETA_E, *_noise(table), "seed"])
    if len(table) < LEAST_POINTS:
        return None
    figure = Figure(figsize=(4.2, 3.8), layout="constrained", dpi=150)
    axis = figure.subplots()
    kinds = table.get("corruption.edge_kind", pd.Series("uniform", table.index)).fillna("no noise")
    for colour, marker, (kind, part) in zip(COLOURS, "os^Dv", table.groupby(kinds), strict=False):
        axis.plot(part[mine], part[true], marker, color=colour, markersize=4.5, alpha=0.8, label=str(kind))
    axis.set_xlabel("A of training edges, cross-fitted", fontsize=SMALL)
    axis.set_ylabel("A of clean test pairs", fontsize=SMALL)
    tidy(axis)
    axis.legend(frameon=False, fontsize=7)
    rank = table[mine].rank().corr(table[true].rank())
    caption = (
        "A point is a job. Alignment A = 1 - mean p of training edges, each judged by a prior that did not see it, and "
        f"of clean test pairs by the same priors. Rank correlation over all points: {rank:.2f}. {seeds_fact(table)}"
    )
    return Drawing("alignment_scatter", "Does alignment without labels follow the truth?", figure, caption)


def _noise(table: pd.DataFrame) -> list[str]:
    return [name for name in ("corruption.edge_kind",) if name in table]


def _panel(axis: Axes, part: pd.DataFrame, ratios: list[float]) -> None:
    """Jobs that differ in backbone or place only have the same curve: once for each seed."""
    once = part.drop_duplicates("seed")
    if len(once):
        means = {start: [float(once[f"{start}{ratio:g}"].mean()) for ratio in ratios] for start in (GAIN, TRUE)}
        errors = [float(once[f"{GAIN}{ratio:g}_error"].mean()) for ratio in ratios]
        axis.errorbar(ratios, means[GAIN], errors, fmt="o-", color=BLUE, markersize=4, capsize=2, label="expected")
        axis.plot(ratios, means[TRUE], "s--", color=ORANGE, markersize=4, label="true")
        for chosen in sorted(set(once["diagnostics/edit/ratio"])):
            axis.axvline(chosen, color=GREY, linestyle=":", linewidth=1.2, label="chosen")
    axis.axhline(0, color=GREY, linewidth=0.8)
    tidy(axis)
