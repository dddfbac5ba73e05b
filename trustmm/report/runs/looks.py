"""What a study that stops by itself left in its folder: the looks of every comparison, and how it ended."""

import json
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trustmm.store.sweep_folder import LOOKS

log = logging.getLogger(__name__)
NUMBERS = ("seeds", "estimate", "low", "high", "p", "e", "margin", "seconds")
"""Of a look, that a report shows."""


@dataclass(frozen=True)
class Looks:
    """A study as ``evidence.jsonl`` has it."""

    folder: str
    metric: str
    nominal: float
    """Level of each look."""
    environments: Sequence[str]
    """What the letters of the environments mean."""
    paths: Mapping[str, tuple[Sequence[Mapping[str, Any]], str]]
    """By comparison, its looks and how it ended; empty while undecided."""


def read_looks(folder: Path) -> list[Looks]:
    """The study of a sweep's folder; none where there is no such file, or a damaged one."""
    path = folder / LOOKS
    if not path.is_file():
        return []
    try:
        head, *lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        paths: dict[str, tuple[list[Mapping[str, Any]], str]] = {}
        for line in lines:
            if odd := [name for name in NUMBERS if not math.isfinite(line[name])]:
                raise ValueError(f"no number in {', '.join(odd)}")
            before, _ = paths.get(line["comparison"], ([], ""))
            paths[line["comparison"]] = ([*before, line], line["ended"])
        return [Looks(str(folder), head["metric"], head["nominal"], head["environments"], paths)]
    except (ValueError, LookupError, TypeError) as error:
        log.warning("%s is damaged (%s); the report continues without it", path, error)
        return []
