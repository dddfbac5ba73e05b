"""Feature rows of the items in the data set, with substitutes for missing rows."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from trustmm.dataset.prepare.names import EXPECTED, name_of
from trustmm.dataset.prepare.tally import Tally

Filling = Literal["mean", "zeros"]


@dataclass(frozen=True, eq=False)
class ItemFeatures:
    """A matrix (I, D) of which some rows are known."""

    matrix: NDArray[np.float32]
    known: NDArray[np.bool_]
    """Items whose row came from the sources, (I,)."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """For the provenance: the encoder, counts."""


def by_item(
    rows: Iterable[tuple[Any, NDArray[np.float32]]],
    numbers: Mapping[str, int],
    tally: Tally,
    *,
    source: str,
    column: str,
) -> ItemFeatures:
    """Rows keyed by item name, put where the items are.

    A row that is empty or not finite, of an item that is not in the data set, or of one that had a row is counted.

    Args:
        rows: item and row (D,), in any order.
        numbers: dense id by item name.
        tally: where unused rows are counted.
        source: for messages.
        column: where the items come from, for messages.

    Raises: ValueError if widths differ or no item of the data set has a row.
    """
    matrix, known = np.empty((0, 0), dtype=np.float32), np.zeros(len(numbers), dtype=bool)
    other = None
    for count, (item, row) in enumerate(rows, start=1):
        name = name_of(item)
        if name is None:
            tally.lose_value("no usable item", count, column, item, EXPECTED)
            continue
        tally.used += 1
        place = numbers.get(name)
        if place is None:
            other = name
            tally.add("item not in the data set", name)
        elif known[place]:
            tally.add("second row of an item", name)
        elif not len(row) or not np.isfinite(row).all():
            tally.add("row that is not finite", name)
        else:
            if not matrix.size:
                matrix = np.zeros((len(numbers), len(row)), dtype=np.float32)
            if len(row) != matrix.shape[1]:
                raise ValueError(f"{source}: item {name} has {len(row)} numbers, expected {matrix.shape[1]} as before")
            matrix[place], known[place] = row, True
    if not known.any() and tally.used:
        wanted = next(iter(numbers), None)
        raise ValueError(
            f"{source}: no item of the data set has a row; the file has items such as {other!r}, the data {wanted!r}"
        )
    return ItemFeatures(matrix, known)


def by_place(rows: NDArray[np.float32], places: Sequence[int], count: int, facts: Mapping[str, Any]) -> ItemFeatures:
    """Encoded rows (N, D) of the items `places`, among `count` items; rows that are not finite count as missing."""
    finite = np.asarray(np.isfinite(rows).all(axis=1))
    matrix, known = np.zeros((count, rows.shape[1]), dtype=np.float32), np.zeros(count, dtype=bool)
    for start in range(0, len(rows), 4096):  # a copy of all chosen rows would be another matrix in memory
        part = slice(start, start + 4096)
        chosen = np.asarray(places[part], dtype=np.int64)[finite[part]]
        matrix[chosen], known[chosen] = rows[part][finite[part]], True
    return ItemFeatures(matrix, known, facts)


def filled(features: ItemFeatures, filling: Filling) -> NDArray[np.float32]:
    """The matrix with the mean of the known rows, or zeros, in the other ones; in place.

    Raises: ValueError if no row is known.
    """
    matrix, known = features.matrix, features.known
    if not known.any():
        raise ValueError("no item has a feature, so there is nothing to fill the others with")
    matrix[~known] = 0
    if filling == "mean" and not known.all():
        matrix[~known] = (matrix.sum(axis=0, dtype=np.float64) / np.count_nonzero(known)).astype(np.float32)
    return matrix
