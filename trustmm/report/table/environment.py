"""Where the numbers of a comparison were computed: environments by letter, and what each compared pair was made in."""

from collections.abc import Iterator, Mapping, Sequence
from string import ascii_uppercase

import pandas as pd

from trustmm.report.runs.cells import Pair

SHOWN = 8
"""Comparisons that a note spells out."""
PLACE = "host"
"""Fact that says where, and moves no digit."""


def letters(table: pd.DataFrame) -> dict[str, str]:
    """A letter for every environment of the jobs and of what they took from the cache, in order of their texts."""
    texts = sorted({text(one) for _, row in table.iterrows() for one in _all(row)})
    names = [ascii_uppercase[place % 26] + (str(place // 26) if place >= 26 else "") for place in range(len(texts))]
    return dict(zip(texts, names, strict=True))


def text(environment: Mapping[str, str]) -> str:
    """All facts but the host's name."""
    return "; ".join(f"{name} {value}" for name, value in environment.items() if name != PLACE) or "not recorded"


def legend(table: pd.DataFrame) -> list[str]:
    """A line an environment: its letter, its facts, its jobs and hosts; what all share is said once."""
    known = letters(table)
    counts = table["environment"].map(text).value_counts()
    facts = [fact.split("; ") for fact in known]
    common = [fact for fact in facts[0] if all(fact in other for other in facts)] if len(facts) > 1 else []
    lines = [f"all: {'; '.join(common)}"] if common else []
    for one, letter in known.items():
        own = "; ".join(fact for fact in one.split("; ") if fact not in common)
        hosts = sorted({row[PLACE] for row in table["environment"] if text(row) == one and PLACE in row})
        where = f" on {', '.join(hosts)}" if hosts else ""
        lines.append(f"{letter}: {own} ({_jobs(int(counts.get(one, 0)))}{where})")
    return lines


def _jobs(number: int) -> str:
    return f"{number} job{'' if number == 1 else 's'}" if number else "inputs only"


def of_jobs(table: pd.DataFrame) -> dict[str, str]:
    """By job its letter, and those of its inputs where they are others: "B with inputs of A"."""
    known, found = letters(table), {}
    for _, row in table.iterrows():
        own, *inputs = (known[text(one)] for one in _all(row))
        others = sorted(set(inputs) - {own})
        found[str(row["job_id"])] = f"{own} with inputs of {'+'.join(others)}" if others else own
    return found


def of_pair(pair: Pair, jobs: Mapping[str, str]) -> str:
    """What the treated and the base job of every seed were computed in: "A", or "B vs A" where they differ."""
    sides = {(jobs[treated], jobs[base]) for treated, base in pair.jobs.values()}
    return "; ".join(sorted(left if left == right else f"{left} vs {right}" for left, right in sides))


def mixed(table: pd.DataFrame, pairs: Sequence[tuple[str, Pair]]) -> list[str]:
    """Notes on the comparisons that are not within one environment, with the environments; none if all are.

    Args:
        table: the jobs.
        pairs: with the options of each.
    """
    jobs = of_jobs(table)
    said = [(name, pair, of_pair(pair, jobs)) for name, pair in pairs]
    one = set(letters(table).values())
    across = [f"{pair.label} at {name}: {where}" for name, pair, where in said if where not in one]
    if not across:
        return []
    more = [f"and {len(across) - SHOWN} more"] if len(across) > SHOWN else []
    note = "**Compared across environments**: " + "; ".join([*across[:SHOWN], *more]) + "."
    return [note, *(f"Environment {line}." for line in legend(table))]


def _all(row: pd.Series) -> Iterator[Mapping[str, str]]:
    yield row["environment"]
    yield from (entry["environment"] for entry in row["inputs"])
