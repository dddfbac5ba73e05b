"""Feature matrices on disk: .npy files of floats, never pickles."""

import math
import warnings
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from trustmm.dataset.access import named

NPY_MAGIC = b"\x93NUMPY"
LONGEST_HEADER = 10_000
"""Bytes; a matrix of floats needs 118."""
WIDEST = 2**20
"""Columns; more than any encoder gives, so what claims more is damaged."""


def open_matrix(path: Path, key: str, num_rows: int | None = None, *, in_time: bool = False) -> NDArray[Any]:
    """A .npy file of a float matrix (I, D), mapped, not read.

    The header is checked before anything of the size it claims is allocated.

    Args:
        path: the file.
        key: what the user calls it, for messages.
        num_rows: for the message about a shape; not checked.
        in_time: whether it may also be (I, T, D), with T frames of each item.

    Raises: ValueError for anything else.
    """
    with named(key, path):
        with path.open("rb") as handle:
            start = handle.read(len(NPY_MAGIC))
            if start != NPY_MAGIC:  # numpy.load would take it for a pickle or a zip archive
                found = f"found a file that starts with {start!r}"
                raise ValueError(f"{path} ({key}): {found}, expected a .npy file (numpy.save)")
            shape, in_columns, dtype, offset = _header(handle, path, key)
        _check(path, key, shape, dtype, num_rows, in_time)
        needed, size = offset + math.prod(shape) * dtype.itemsize, path.stat().st_size
        if size < needed:
            raise ValueError(_unreadable(path, key, f"{size} bytes, {needed} for the shape {shape}"))
        if not shape[0]:
            return np.empty(shape, dtype=dtype)  # nothing to map
        return np.memmap(path, dtype, "r", offset, shape, "F" if in_columns else "C")


def _header(handle: BinaryIO, path: Path, key: str) -> tuple[tuple[int, ...], bool, np.dtype[Any], int]:
    """Shape, whether the order is by columns, type, and where the numbers start."""
    version = tuple(handle.read(2))
    readers = {(1, 0): (2, npy.read_array_header_1_0), (2, 0): (4, npy.read_array_header_2_0)}
    if version not in readers:
        raise ValueError(_unreadable(path, key, f"format version {version}"))
    width, reader = readers[version]
    length = int.from_bytes(handle.read(width), "little")
    if length > LONGEST_HEADER:
        raise ValueError(_unreadable(path, key, f"a header of {length} bytes"))
    handle.seek(len(NPY_MAGIC) + len(version))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # headers of Python 2, stray backslashes
            shape, in_columns, dtype = reader(handle)
    except Exception as error:  # noqa: BLE001 - the header is an expression, and each malformed one has its own error
        raise ValueError(_unreadable(path, key, " ".join(str(error).split()))) from error
    return shape, in_columns, dtype, handle.tell()


def _unreadable(path: Path, key: str, reason: str) -> str:
    text = repr(reason if len(reason) <= 80 else f"{reason[:80]}...")
    return (
        f"{path} ({key}): found a .npy file that cannot be read: {text}; "
        "expected a complete matrix of floats, no objects"
    )


def _check(
    path: Path, key: str, shape: tuple[int, ...], dtype: np.dtype[Any], num_rows: int | None, in_time: bool
) -> None:
    if dtype.kind != "f" or dtype.itemsize not in (2, 4, 8):
        shown = str(dtype) if len(str(dtype)) <= 80 else f"{str(dtype)[:80]}..."
        raise ValueError(f"{path} ({key}): found dtype {shown}, expected float16, float32 or float64")
    axes = (2, 3) if in_time else (2,)
    plain = len(shape) in axes and all(type(size) is int and size >= 0 for size in shape)
    if not plain or not all(1 <= size <= WIDEST for size in shape[1:]):
        rows = "rows" if num_rows is None else f"{num_rows} rows"
        shown = str(shape) if len(str(shape)) <= 80 else f"{str(shape)[:80]}..."
        raise ValueError(f"{path} ({key}): found shape {shown}, expected {rows} of 1 to {WIDEST} columns")
