"""Where numbers were computed: every environment of some jobs gets a letter, and what was compared is said in letters.

A job is anything with ``environment`` and ``inputs``, as a ``result.json`` has them.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from string import ascii_uppercase
from typing import Any

PLACE = "host"
"""Fact that says where, and moves no digit."""
Job = Mapping[str, Any]


def letters(jobs: Sequence[Job]) -> dict[str, str]:
    """A letter for every environment of the jobs and of what they took from elsewhere, in order of their texts."""
    texts = sorted({text(one) for job in jobs for one in environments(job)})
    names = [ascii_uppercase[place % 26] + (str(place // 26) if place >= 26 else "") for place in range(len(texts))]
    return dict(zip(texts, names, strict=True))


def text(environment: Mapping[str, str]) -> str:
    """All facts but the host's name."""
    return "; ".join(f"{name} {value}" for name, value in environment.items() if name != PLACE) or "not recorded"


def legend(jobs: Sequence[Job]) -> list[str]:
    """A line an environment: its letter, its facts, its jobs and hosts; what all share is said once."""
    known = letters(jobs)
    counts = Counter(text(job["environment"]) for job in jobs)
    facts = [fact.split("; ") for fact in known]
    common = [fact for fact in facts[0] if all(fact in other for other in facts)] if len(facts) > 1 else []
    lines = [f"all: {'; '.join(common)}"] if common else []
    for one, letter in known.items():
        own = "; ".join(fact for fact in one.split("; ") if fact not in common)
        made = [job["environment"] for job in jobs if text(job["environment"]) == one]
        hosts = sorted({environment[PLACE] for environment in made if PLACE in environment})
        where = f" on {', '.join(hosts)}" if hosts else ""
        lines.append(f"{letter}: {own} ({_jobs(counts[one])}{where})")
    return lines


def _jobs(number: int) -> str:
    return f"{number} job{'' if number == 1 else 's'}" if number else "inputs only"


def origins(jobs: Sequence[Job]) -> list[str]:
    """Of each job its letter, and those of its inputs where they are others: "B (inputs of A)"."""
    known, found = letters(jobs), []
    for job in jobs:
        own, *inputs = (known[text(one)] for one in environments(job))
        others = sorted(set(inputs) - {own})
        found.append(f"{own} (inputs of {'+'.join(others)})" if others else own)
    return found


def compared(sides: Iterable[tuple[str, str]]) -> str:
    """Origins of the treated and the base job of each seed in words: "A", or "B vs A" where they differ."""
    return "; ".join(sorted({left if left == right else f"{left} vs {right}" for left, right in sides}))


def across(jobs: Sequence[Job]) -> list[str]:
    """The `legend` where the jobs come from several environments; empty where one made them all."""
    return legend(jobs) if len(letters(jobs)) > 1 else []


def origin_of(job: Job) -> dict[str, Any]:
    """What a job says of where it comes from, each environment of its inputs once, as plain values."""
    own, *others = environments(job)
    inputs = [{"environment": dict(one)} for place, one in enumerate(others) if one not in others[:place]]
    return {"environment": dict(own), "inputs": inputs}


def environments(job: Job) -> Iterator[Mapping[str, str]]:
    """Of a job, its own first, and of all that it took."""
    yield job["environment"]
    yield from (entry["environment"] for entry in job["inputs"])
