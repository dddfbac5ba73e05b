"""Cells of a study: which options vary, which seeds a cell has, and paired differences between cells."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
import pandas as pd

from trustmm.report.runs.order import sort_key
from trustmm.report.runs.read import CHOICES, Failure, Runs, options_in
from trustmm.report.runs.studies import STUDY
from trustmm.statistics.seeds import Interval, over_seeds

AXES = (
    STUDY,
    "dataset",
    "backbone",
    "corruption.kind",
    "corruption.eta",
    "corruption.eta_of",
    "corruption.eta_e",
    "corruption.edge_kind",
    "edit.op",
    "edit",
    "rectifier",
)
"""Axes in the order that a table lists them; others follow."""


KINDS = frozenset({"corruption.kind", "corruption.joint", "corruption.edge_kind"})
"""Of damage: they mean nothing where there is none."""


def axes_of(table: pd.DataFrame) -> list[str]:
    """Options that vary, seeds left out, and seeds of parts that follow them (``dataset.split_seed=${seed}``).

    An option of one choice (``backbone.k``) is an axis if it varies while study, dataset, backbone, rectifier and edit
    stay.
    """
    if not len(table):
        return []
    choices = [key for key in (STUDY, *CHOICES) if key in table and table[key].nunique() > 1]
    others = [key for key in options_in(table) if key not in CHOICES and not _follows_seed(table, key)]
    others = [key for key in others if _varies(table, key)]
    others += ["corruption.seed"] if draw_of(table) == "crossed" else []
    found = [*choices, *others]
    return sorted(found, key=lambda key: (AXES.index(key) if key in AXES else len(AXES), key))


def _follows_seed(table: pd.DataFrame, key: str) -> bool:
    """Whether a seed of a part is another one for every seed of the job."""
    if not key.endswith("seed"):
        return False
    pairs = table[["seed", key]].drop_duplicates()
    return bool(len(pairs) > 1 and not pairs["seed"].duplicated().any() and not pairs[key].duplicated().any())


def _varies(table: pd.DataFrame, key: str) -> bool:
    """None beside a value is a difference, but for the kind of a damage."""
    if key == "corruption.eta_of":
        return bool(table[key].nunique(dropna=False) > 1)
    same = [*CHOICES, *(name for name in (STUDY, "edit.op") if name != key and name in table)]  # each has its own
    return bool((table.groupby(same, dropna=False)[key].nunique(dropna=key in KINDS) > 1).any())


def draw_of(table: pd.DataFrame) -> str:
    """How the corruption's draw varies: none, tied (one draw a seed), fixed, crossed (several draws a seed)."""
    drawn = table[table["corruption.seed"].notna()]
    draws, seeds = drawn["corruption.seed"].nunique(), drawn["seed"].nunique()
    if not len(drawn) or (draws == seeds == 1 < table["seed"].nunique()):
        return "none"
    if draws == 1 < seeds:
        return "fixed"
    return "tied" if (drawn.groupby("seed")["corruption.seed"].nunique() == 1).all() else "crossed"


def key_of(table: pd.DataFrame, axes: Sequence[str]) -> pd.Series:
    """One text per row that is the same for the same values of `axes`."""
    columns = [[exact(value) for value in table[axis]] for axis in axes]
    texts = ["|".join(values) for values in zip(*columns, strict=True)] if axes else [""] * len(table)
    return pd.Series(texts, index=table.index, dtype=object)


@dataclass(frozen=True)
class Cell:
    """One condition with its values by seed."""

    values: Mapping[str, Any]
    """Of the axes."""
    by_seed: Mapping[int, float]

    @property
    def interval(self) -> Interval:
        """Mean over seeds with its t interval."""
        return over_seeds(list(self.by_seed.values()))


def cells(table: pd.DataFrame, axes: Sequence[str], metric: str) -> list[Cell]:
    """Cells in the order of their options; a cell without the metric is left out."""
    if not len(table) or metric not in table:
        return []
    found = []
    for _, rows in table.groupby(key_of(table, axes), sort=False):
        rows = rows[rows[metric].notna()]
        if len(rows):
            by_seed = rows.groupby("seed")[metric].mean()
            found.append(Cell({axis: rows.iloc[0][axis] for axis in axes}, by_seed.to_dict()))
    return sorted(found, key=lambda cell: [sort_key(axis, cell.values[axis]) for axis in axes])


CONTENT_FREE = ("bpr", "lightgcn")
"""Backbones that see no features: a repair changes nothing."""


@dataclass(frozen=True)
class Pair:
    """A paired difference between two cells that differ in one choice."""

    values: Mapping[str, Any]
    """Of the axes that both share."""
    treated: Mapping[str, Any]
    """Options of the treated cell."""
    label: str
    """Such as "mr - none"."""
    base: float
    """Mean of the base over the common seeds."""
    by_seed: Mapping[int, float]
    jobs: Mapping[int, tuple[str, str]]
    """Ids of the treated and the base job by seed."""

    @property
    def interval(self) -> Interval:
        """Mean difference over the common seeds with its t interval."""
        return over_seeds(list(self.by_seed.values()))


def pairs(table: pd.DataFrame, choice: str, base: str, metric: str, axes: Sequence[str] | None = None) -> list[Pair]:
    """Every cell whose `choice` is not `base`, minus the base cell with the same other options, over common seeds.

    Two jobs whose data hold different values are no pair, whatever their options say.

    Args:
        table: finished jobs.
        choice: such as "rectifier"; axes of that choice ("rectifier.lam") belong to the treated cell alone where the
            base has none of its values, and to both otherwise.
        base: value of the choice in the base cell.
        metric: column.
        axes: what tells cells apart; by default what varies.
    """
    axes = axes_of(table) if axes is None else list(axes)
    if choice not in table or metric not in table:
        return []
    known = table[table[metric].notna()]
    untreated, treated = known[known[choice] == base], known[known[choice] != base]
    own = [axis for axis in axes if axis == choice or _is_own(axis, choice, treated, untreated)]
    shared = [axis for axis in axes if axis not in own]
    bases = dict(tuple(_by(untreated, shared)))
    found = []
    for key, treated_rows in _by(treated, shared):
        if key not in bases:
            continue
        for _, rows in _by(treated_rows, own):
            pair = _pair(rows, bases[key], choice, metric, (shared, own))
            found += [pair] if pair.by_seed else []
    return sorted(found, key=lambda pair: [sort_key(axis, {**pair.values, **pair.treated}[axis]) for axis in axes])


def _is_own(axis: str, choice: str, treated: pd.DataFrame, base: pd.DataFrame) -> bool:
    return axis.startswith(f"{choice}.") and not set(treated[axis].dropna()) & set(base[axis].dropna())


def _by(table: pd.DataFrame, axes: Sequence[str]) -> list[tuple[str, pd.DataFrame]]:
    return [(str(key), rows) for key, rows in table.groupby(key_of(table, axes), sort=False)]


def _pair(
    treated: pd.DataFrame, base: pd.DataFrame, choice: str, metric: str, axes: tuple[Sequence[str], Sequence[str]]
) -> Pair:
    left, right = (rows.set_index("seed") for rows in (treated, base))
    if not (left.index.is_unique and right.index.is_unique):
        raise ValueError(f"cells of {choice} must have one job per seed, but options vary within them")
    common = [seed for seed in sorted(left.index) if seed in right.index]
    seeds = [seed for seed in common if left.at[seed, "content_digest"] == right.at[seed, "content_digest"]]
    differences = {int(seed): float(left.at[seed, metric] - right.at[seed, metric]) for seed in seeds}
    jobs = {int(seed): (str(left.at[seed, "job_id"]), str(right.at[seed, "job_id"])) for seed in seeds}
    shared, own = axes
    first = treated.iloc[0]
    label = f"{first[choice]} - {base.iloc[0][choice]}"
    mean = float(np.mean([right.at[seed, metric] for seed in seeds])) if seeds else float("nan")
    values, options = ({axis: first[axis] for axis in part} for part in (shared, own))
    return Pair(values, options, label, mean, differences, jobs)


def spread_clean(table: pd.DataFrame) -> pd.DataFrame:
    """Undamaged rows, repeated for every kind of damage and, where draws and seeds cross, for every draw."""
    free = spread(table, "corruption.kind")
    return spread(free, "corruption.seed") if draw_of(table) == "crossed" else free


def spread(table: pd.DataFrame, axis: str) -> pd.DataFrame:
    """Rows for which an option means nothing (eta 0 of a corruption's kind), repeated for every value it takes."""
    if axis not in table or table[axis].isna().all():
        return table
    free, bound = table[table[axis].isna()], table[table[axis].notna()]
    copies = [free.assign(**{axis: value}) for value in bound[axis].unique()]
    return pd.concat([bound, *copies], ignore_index=True) if len(free) else table


def gaps(runs: Runs) -> list[str]:
    """Seeds that a cell lacks and others of its sweep have: "backbone=vbpr seed=3".

    Not those that a failed or planned cell stands for; nothing of a search, whose cells have one seed each.
    """
    grids = [rows for name, rows in runs.of_sweeps.items() if name not in runs.searches]
    known = [*runs.failures, *runs.absent]
    return list(dict.fromkeys(line for rows in grids for line in _gaps(rows, known)))


def _gaps(table: pd.DataFrame, known: Sequence[Failure]) -> list[str]:
    axes, seeds, lines = axes_of(table), sorted(table["seed"].unique()), []
    for _, rows in table.groupby(key_of(table, axes), sort=False):
        values = {axis: rows.iloc[0][axis] for axis in axes}
        lacking = [seed for seed in seeds if seed not in set(rows["seed"])]
        lines += [
            describe({**values, "seed": int(seed)})
            for seed in lacking
            if not any(_is(cell, values, seed) for cell in known)
        ]
    return lines


def name_cell(cell: Failure, axes: Sequence[str]) -> str:
    """A cell without a result by the options that vary, or as it was recorded."""
    known = {key: cell.values[key] for key in [*axes, "seed"] if key in cell.values}
    return describe(known) if "seed" in known and len(known) > 1 else cell.cell


def _is(failure: Failure, values: Mapping[str, Any], seed: int) -> bool:
    wanted = {**{axis: value for axis, value in values.items() if _present(value)}, "seed": seed}
    return all(_equal(failure.values[key], value) for key, value in wanted.items() if key in failure.values)


def _equal(text: str, value: Any) -> bool:
    try:
        return float(text) == float(value)
    except (TypeError, ValueError):
        return text == str(value)


def _present(value: Any) -> bool:
    return value is not None and value == value


def describe(values: Mapping[str, Any]) -> str:
    """Options as the user types them; what means nothing in a cell is left out."""
    return " ".join(f"{key}={plain(value)}" for key, value in values.items() if _present(value)) or "the only cell"


def plain(value: Any) -> str:
    """A value as text for people: 0.2 and 0, not 0.20 and 0.0; whole numbers with all their digits."""
    if not _present(value):
        return ""
    number = isinstance(value, Real) and not isinstance(value, bool)
    return f"{value:g}" if number and not float(value).is_integer() else exact(value)


def exact(value: Any) -> str:
    """A value as text that no other value has; 1 and 1.0 are the same."""
    if not _present(value):
        return ""
    if isinstance(value, Real) and not isinstance(value, bool):
        number = float(value)
        return str(int(number)) if number.is_integer() else repr(number)
    return str(value)
