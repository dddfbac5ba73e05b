"""Attributes of items, such as genres, as a matrix of zeros and ones."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from trustmm.dataset.prepare.columns import listed
from trustmm.dataset.prepare.features import ItemFeatures
from trustmm.dataset.prepare.names import one_per_item
from trustmm.dataset.prepare.records import Record
from trustmm.dataset.prepare.tally import Tally

COLUMNS = ("genres", "genre", "class", "categories", "category")
"""Columns looked for, in this order: MovieLens, RecBole, Amazon."""
SEPARATOR = "|"
NOTHING = frozenset({"", "(no genres listed)"})
MOST_VALUES = 4096
"""Columns of the matrix; where there are more values the most frequent stay."""


def find_attributes(path: Path, names: Sequence[str]) -> tuple[str, ...]:
    """The column of attributes that is known.

    Args:
        path: the file, for messages.
        names: its fields.

    Raises: ValueError that names those there are.
    """
    found = next((column for column in COLUMNS if column in names), None)
    if found is None:
        hint = "name them: --attributes FILE COLUMN ..."
        raise ValueError(f"{path}: no column {' or '.join(COLUMNS)} of attributes among {listed(names)}; {hint}")
    return (found,)


def item_attributes(
    records: Iterable[tuple[int, Record]],
    item_column: str,
    columns: Sequence[str],
    numbers: Mapping[str, int],
    tally: Tally,
) -> ItemFeatures:
    """A row (A,) per item with a one for each value it has; items without any are not known.

    Args:
        records: one per item.
        item_column: the field that holds the item.
        columns: fields of attributes; a value is a text with ``|`` between the elements, or a list.
        numbers: dense id by item name.
        tally: counts skipped records.
    """
    values_of: dict[int, frozenset[str]] = {}
    for place, record in one_per_item(records, item_column, numbers, tally, kind="attribute"):
        values_of[place] = frozenset(
            f"{column}={value}" for column in columns for value in attribute_values(record.get(column))
        )
    counts = Counter(value for values in values_of.values() for value in values)
    kept = sorted(sorted(counts, key=lambda value: (-counts[value], value))[:MOST_VALUES])
    columns_of = {value: column for column, value in enumerate(kept)}
    matrix = np.zeros((len(numbers), len(kept)), dtype=np.float32)
    for place, values in values_of.items():
        matrix[place, [columns_of[value] for value in values if value in columns_of]] = 1
    return ItemFeatures(
        matrix, np.asarray(matrix.any(axis=1)), {"values": kept, "values_left_out": len(counts) - len(kept)}
    )


def attribute_values(value: Any) -> Iterator[str]:
    """The attributes in a field: elements of lists, however deep, and of texts with ``|`` between them."""
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, list | tuple):
            waiting.extend(one)
        elif isinstance(one, str | int) and not isinstance(one, bool):
            for text in str(one).encode("utf-8", errors="ignore").decode("utf-8").split(SEPARATOR):
                if text.strip() not in NOTHING:
                    yield text.strip()
