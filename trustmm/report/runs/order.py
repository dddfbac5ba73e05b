"""The order in which tables, figures and files list the options of a study, whatever job finished first."""

from collections.abc import Sequence
from numbers import Real
from typing import Any

ORDER = (
    "none",
    "mr",
    "mr_row_norm",
    "mr_all_pairs",
    "smooth",
    "trust",
    "oracle",
    "train_only",
    "graph_only",
    "both",
    "complete",
    "prune",
)
LABELS = {
    "none": "base",
    "mr": "+MR",
    "mr_row_norm": "w/o Sinkhorn",
    "mr_all_pairs": "w/o small loss",
    "smooth": "smoothing alone",
    "trust": "+trust",
    "oracle": "knows the truth",
    "train_only": "train only",
    "graph_only": "graph only",
}
"""Words of the paper for options."""
KINDS = ("permute", "swap_similar", "replace", "shift", "normal", "constant", "missing")
BACKBONES = ("bpr", "lightgcn", "vbpr", "lattice", "mgcn", "freedom", "smore")


def sort_key(axis: str, value: Any) -> tuple[int, float, str]:
    """What to sort a value of an axis by: nothing first, then numbers, known names, other names."""
    if value is None or value != value:
        return (0, 0.0, "")
    if isinstance(value, Real):
        return (1, float(value), "")
    known = {"backbone": BACKBONES, "corruption.kind": KINDS}.get(axis, ORDER)
    return (2, float(known.index(value)) if value in known else len(known), str(value))


def in_order(axis: str, values: Sequence[Any]) -> list[Any]:
    """Values of an axis in their order."""
    return sorted(values, key=lambda value: sort_key(axis, value))
