"""Published numbers, kept apart from measured ones: their data set, and whether a run's data are the same."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import pandas as pd

from trustmm.report.runs.cells import CONTENT_FREE

NAMES = {"baby": "Baby", "sports": "Sports", "electronics": "Electronics"}
WIDTHS = {"visual": 4096, "textual": 384}
METRICS = {"R@10": "recall@10", "R@20": "recall@20", "N@10": "ndcg@10", "N@20": "ndcg@20"}
_SAME_PAIRS = {"baby_id": "baby", "sports_attr": "sports"}
"""Options with the published pairs and other (or no) features: comparable where content does not enter."""


@dataclass(frozen=True)
class Published:
    """A number that somebody else printed."""

    value: float | None
    """None: out of memory."""
    source: str


@cache
def facts() -> Mapping[str, Any]:
    """The file ``paper_results.json``: tables, claims and rules, each with its source."""
    text = resources.files("trustmm.report").joinpath("paper_results.json").read_text(encoding="utf-8")
    return dict(json.loads(text))


def same_data(label: str, backbone: str, rows: pd.DataFrame) -> str | None:
    """The published data set that these runs used, or None where the data differ.

    Names are not enough: modalities must be the published ones, and sizes and feature widths, where recorded, too.

    Args:
        label: of the runs' data set.
        backbone: one without content needs the same pairs only.
        rows: runs with this label.
    """
    stem = label.partition("#")[0]
    if backbone in CONTENT_FREE:
        stem = _SAME_PAIRS.get(stem, stem)
    name = NAMES.get(stem)
    if name is None or any(wrong_sizes(name, statistics) for statistics in _recorded(rows)):
        return None
    if backbone in CONTENT_FREE:
        return name
    kinds = all(set(modalities) == set(WIDTHS) for modalities in rows["modalities"])
    widths = all((statistics.get("widths") or WIDTHS) == WIDTHS for statistics in _recorded(rows))
    return name if kinds and widths else None


def _recorded(rows: pd.DataFrame) -> list[Mapping[str, Any]]:
    return [statistics for statistics in rows["statistics"] if isinstance(statistics, Mapping)]


def wrong_sizes(name: str, statistics: Mapping[str, Any]) -> bool:
    """Whether recorded sizes differ from the published ones."""
    known = facts()["table1"][name]
    return any(statistics.get(key) not in (None, known[key]) for key in ("users", "items", "interactions"))


def why_not(label: str) -> str | None:
    """What to say where published numbers of a similar name exist and do not apply; None where none do."""
    stem = label.partition("#")[0]
    if stem in _SAME_PAIRS:
        name = NAMES[_SAME_PAIRS[stem]]
        return (
            f"{label} has the pairs of the published {name} but not its features, so content models have no "
            "published number beside them (BPR and LightGCN do)."
        )
    if stem in NAMES:
        return f"{label}: sizes or features differ from the published {NAMES[stem]}; no published number beside it."
    return None


def clean_number(dataset: str, backbone: str, rectifier: str, metric: str) -> Published | None:
    """The published clean test value of a cell; None where there is none.

    Args:
        dataset: as published ("Baby").
        backbone: such as "freedom".
        rectifier: "none" or "mr".
        metric: such as "recall@10".
    """
    short = {name: key for key, name in METRICS.items()}.get(metric)
    variant = {"none": "base", "mr": "mr"}.get(rectifier)
    if short is None or variant is None:
        return None
    cell = facts()["table2"][dataset].get(backbone)
    if cell is not None:
        return Published(cell[variant][short], facts()["source"])
    other = facts()["other_published"][dataset].get(backbone) if variant == "base" else None
    return None if other is None else Published(other[short], facts()["other_published"]["source"])


def published_sizes(name: str) -> Sequence[Any]:
    """Users, items, interactions and sparsity of Table 1."""
    known = facts()["table1"][name]
    return [known[key] for key in ("users", "items", "interactions", "sparsity")]
