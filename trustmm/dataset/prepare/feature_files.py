"""Ready-made features keyed by item: Parquet, .npy with a list of items beside it, or a folder of .npy as Ducho's."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trustmm.dataset.access import is_folder, named
from trustmm.dataset.matrix import open_matrix
from trustmm.dataset.prepare.records import PARQUET, UTF_8, field_names, list_of_names, parquet_rows, readable_parquet
from trustmm.dataset.prepare.text import find_item_column

KEY = "--features"
ItemRow = tuple[Any, NDArray[np.float32]]
"""What a file says the item is, and its row (D,)."""


@dataclass(frozen=True)
class FeatureFile:
    """The features of one modality.

    Args:
        path: .parquet, .npy, or a folder that holds ``ITEM.npy`` for each item.
        items: for .npy, a text file with the item of each row, one a line; None if items are named 0, 1, 2, ...
            after the rows.
        item_column: for .parquet, the column of items; None to find it.
        encoding: of the list of items.
    """

    path: Path
    items: Path | None = None
    item_column: str | None = None
    encoding: str = UTF_8

    def check(self) -> None:
        """Raise ValueError for what can be seen without reading the features."""
        with named(KEY, self.path):
            folder = is_folder(self.path)
        if not folder and self.path.suffix not in (PARQUET, ".npy"):
            raise ValueError(
                f"{self.path}: found the suffix {self.path.suffix!r}, expected .parquet or .npy, or a folder"
            )
        if self.items is not None and (folder or self.path.suffix == PARQUET):
            raise ValueError(
                f"{self.path}: a list of items ({self.items}) is for .npy; others name the items themselves"
            )
        if folder:
            item_folder(self.path)
        elif self.path.suffix == ".npy":
            open_matrix(self.path, KEY)
        else:
            _parquet_layout(self.path, self.item_column)

    def column(self) -> str:
        """What messages call the column of items."""
        return _parquet_layout(self.path, self.item_column)[0] if self.path.suffix == PARQUET else "item"

    def rows(self) -> Iterator[ItemRow]:
        """Item and row (D,) of each row of the file or folder."""
        with named(KEY, self.path):
            if is_folder(self.path):
                yield from self._folder_rows()
            else:
                yield from self._npy_rows() if self.path.suffix == ".npy" else self._parquet_rows()

    def _folder_rows(self) -> Iterator[ItemRow]:
        folder = item_folder(self.path)
        for name in sorted(name for name in os.listdir(folder) if name.endswith(".npy")):
            row = open_matrix(folder / name, KEY, 1)
            if len(row) != 1:
                raise ValueError(f"{folder / name} ({KEY}): found {len(row)} rows, expected 1, the item's")
            yield name.removesuffix(".npy"), _as_float32(row[0])

    def _npy_rows(self) -> Iterator[ItemRow]:
        matrix = open_matrix(self.path, KEY)
        names: Sequence[str] = [str(number) for number in range(len(matrix))]
        if self.items is not None:
            names = list_of_names(self.items, self.encoding)
            if len(names) != len(matrix):
                raise ValueError(
                    f"{self.items}: found {len(names)} items, expected {len(matrix)}, the rows of {self.path}"
                )
        for name, row in zip(names, matrix, strict=True):
            yield name, _as_float32(row)

    def _parquet_rows(self) -> Iterator[ItemRow]:
        item_column, columns = _parquet_layout(self.path, self.item_column)
        for row in parquet_rows(self.path, [item_column, *columns], batch_size=1024):
            values = row[columns[0]] if isinstance(row[columns[0]], list) else [row[name] for name in columns]
            yield row[item_column], _as_float32(values)


def item_folder(folder: Path) -> Path:
    """The folder that holds ``ITEM.npy`` files: this one, or the only one below it.

    Ducho writes ``visual_embeddings/LIBRARY/MODEL/LAYER/ITEM.npy``.

    Raises: ValueError if there is none or several.
    """
    with named(KEY, folder):
        found = [Path(place) for place, _, files in os.walk(folder) if any(file.endswith(".npy") for file in files)]
    if len(found) != 1:
        there = ", ".join(str(path) for path in sorted(found)[:5]) or "none"
        raise ValueError(f"{folder} ({KEY}): found folders with .npy files: {there}; expected one, name it")
    return found[0]


def _parquet_layout(path: Path, wanted: str | None) -> tuple[str, list[str]]:
    """The column of items, and the one column of lists or the columns of numbers that make a row."""
    import pyarrow.parquet
    import pyarrow.types

    item_column = find_item_column(path, field_names(path), wanted)
    with readable_parquet(path):
        schema = pyarrow.parquet.read_schema(path)
    others = [column for column in schema if column.name != item_column]
    lists = [column.name for column in others if _is_list_of_floats(column.type)]
    numbers = [column.name for column in others if pyarrow.types.is_floating(column.type)]
    if len(lists) == 1 and not numbers:
        return item_column, lists
    if numbers and not lists:
        return item_column, numbers
    found = ", ".join(f"{column.name} ({column.type})" for column in others) or "none"
    raise ValueError(f"{path}: found the columns {found[:300]}; expected one of lists of floats, or columns of floats")


def _is_list_of_floats(kind: Any) -> bool:
    from pyarrow import types

    lists = types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)
    return bool(lists and types.is_floating(kind.value_type))


def _as_float32(values: Any) -> NDArray[np.float32]:
    """The values as float32; null becomes NaN, and what float32 cannot hold infinity."""
    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray([np.nan] if values is None else values, dtype=np.float64).astype(np.float32)
