"""Where the two sides of every comparison were computed, see `store.origin`."""

from collections.abc import Iterator, Mapping, Sequence

import pandas as pd

from trustmm.report.runs.cells import Pair, axes_of, describe, key_of
from trustmm.store import origin

SHOWN = 8
"""Comparisons that a note spells out."""
NUMBERS = ("corruption.eta", "corruption.eta_e", "rectifier.lam", "rectifier.tau")
"""Axes along which tables, figures and claims read a curve."""


def legend(table: pd.DataFrame) -> list[str]:
    """A line an environment of the jobs."""
    return origin.legend(_jobs(table))


def of_jobs(table: pd.DataFrame) -> dict[str, str]:
    """By job the letter of its environment, and those of its inputs where they are others: "B (inputs of A)"."""
    return dict(zip(table["job_id"].astype(str), origin.origins(_jobs(table)), strict=True))


def of_pair(pair: Pair, jobs: Mapping[str, str]) -> str:
    """What the treated and the base job of every seed were computed in: "A", or "B vs A" where they differ."""
    return origin.compared((jobs[treated], jobs[base]) for treated, base in pair.jobs.values())


def mixed(table: pd.DataFrame, pairs: Sequence[tuple[str, Pair]]) -> list[str]:
    """Notes on pairs and curves that are not within one environment, with the environments; none if all are.

    Args:
        table: the jobs.
        pairs: with the options of each.
    """
    jobs = of_jobs(table)
    said = [(name, pair, of_pair(pair, jobs)) for name, pair in pairs]
    one = set(letters(table).values())
    across = [f"{pair.label} at {name}: {where}" for name, pair, where in said if where not in one]
    through = [f"{name}: {where}" for name, where in _curves(table) if where not in one]
    notes = [*_note("Compared across environments", across), *_note("Curves through several environments", through)]
    return [*notes, *(f"Environment {line}." for line in legend(table))] if notes else []


def of_rows(rows: pd.DataFrame, known: Mapping[str, str]) -> str:
    """All that had a part in some jobs: "A", or "A + B"; `known` has the letters."""
    return " + ".join(sorted({known[origin.text(one)] for job in _jobs(rows) for one in origin.environments(job)}))


def letters(table: pd.DataFrame) -> dict[str, str]:
    """Letters of the jobs' environments by their text."""
    return origin.letters(_jobs(table))


def _curves(table: pd.DataFrame) -> Iterator[tuple[str, str]]:
    """What differs in one number alone, and what it was computed in."""
    axes, known = axes_of(table), letters(table)
    for axis in (axis for axis in axes if axis in NUMBERS):
        others = [other for other in axes if other != axis]
        for _, rows in table.groupby(key_of(table, others), sort=False):
            yield f"{describe({other: rows.iloc[0][other] for other in others})} over {axis}", of_rows(rows, known)


def _note(title: str, lines: Sequence[str]) -> list[str]:
    more = [f"and {len(lines) - SHOWN} more"] if len(lines) > SHOWN else []
    return [f"**{title}**: {'; '.join([*lines[:SHOWN], *more])}."] if lines else []


def _jobs(table: pd.DataFrame) -> list[origin.Job]:
    made = zip(table["environment"], table["inputs"], strict=True)
    return [{"environment": own, "inputs": inputs} for own, inputs in made]
