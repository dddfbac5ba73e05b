"""Ready-made features keyed by item: Parquet with an item column, or .npy with a list of items beside it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trustmm.dataset.matrix import open_matrix
from trustmm.dataset.prepare.interactions import name_of
from trustmm.dataset.prepare.records import PARQUET, field_names
from trustmm.dataset.prepare.text import find_item_column


@dataclass(frozen=True)
class FeatureFile:
    """A file of features of one modality.

    Args:
        path: .parquet or .npy.
        items: for .npy, a text file with the item of each row, one a line; None if items are named 0, 1, 2, ...
            after the rows.
        item_column: for .parquet, the column of items; None to find it.
    """

    path: Path
    items: Path | None = None
    item_column: str | None = None

    def check(self) -> None:
        """Raise ValueError for what can be seen without reading the features."""
        if self.path.suffix not in (PARQUET, ".npy"):
            raise ValueError(f"{self.path}: found the suffix {self.path.suffix!r}, expected .parquet or .npy")
        if self.path.suffix == ".npy":
            open_matrix(self.path, "--features")
            return
        if self.items is not None:
            raise ValueError(f"{self.path}: a list of items ({self.items}) is for .npy; Parquet has a column of them")
        _parquet_layout(self.path, self.item_column)

    def rows(self) -> Iterator[tuple[str, NDArray[np.float32]]]:
        """Item and row (D,) of each row of the file."""
        return self._npy_rows() if self.path.suffix == ".npy" else self._parquet_rows()

    def _npy_rows(self) -> Iterator[tuple[str, NDArray[np.float32]]]:
        matrix = open_matrix(self.path, "--features")
        names: Sequence[str] = [str(number) for number in range(len(matrix))]
        if self.items is not None:
            names = self.items.read_text(encoding="utf-8").splitlines()
            if len(names) != len(matrix):
                raise ValueError(
                    f"{self.items}: found {len(names)} items, expected {len(matrix)}, the rows of {self.path}"
                )
        for name, row in zip(names, matrix, strict=True):
            yield name, _as_float32(row)

    def _parquet_rows(self) -> Iterator[tuple[str, NDArray[np.float32]]]:
        import pyarrow.parquet

        item_column, columns = _parquet_layout(self.path, self.item_column)
        with pyarrow.parquet.ParquetFile(self.path) as file:
            for batch in file.iter_batches(batch_size=1024, columns=[item_column, *columns]):
                for row in batch.to_pylist():
                    values = row[columns[0]] if isinstance(row[columns[0]], list) else [row[name] for name in columns]
                    yield name_of(row[item_column]) or "", _as_float32(values)


def _parquet_layout(path: Path, wanted: str | None) -> tuple[str, list[str]]:
    """The column of items, and the one column of lists or the columns of numbers that make a row."""
    import pyarrow.parquet
    import pyarrow.types

    item_column = find_item_column(path, field_names(path), wanted)
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
