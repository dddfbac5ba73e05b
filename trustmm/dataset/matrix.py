"""Feature matrices on disk: .npy files of floats, never pickles."""

import tokenize
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

NPY_MAGIC = b"\x93NUMPY"


def open_matrix(path: Path, key: str, num_rows: int | None = None) -> NDArray[Any]:
    """A .npy file of a float matrix (I, D), mapped, not read.

    Args:
        path: the file.
        key: what the user calls it, for messages.
        num_rows: for the message about a shape; not checked.

    Raises: ValueError for anything else.
    """
    with path.open("rb") as handle:
        start = handle.read(len(NPY_MAGIC))
    if start != NPY_MAGIC:  # numpy.load would take it for a pickle or a zip archive
        raise ValueError(f"{path} ({key}): found a file that starts with {start!r}, expected a .npy file (numpy.save)")
    try:
        stored: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OverflowError, SyntaxError, tokenize.TokenError) as error:
        text = repr(str(error))
        reason = f"found a .npy file that cannot be read: {text if len(text) <= 80 else text[:80] + '...'}"
        raise ValueError(f"{path} ({key}): {reason}; expected a complete matrix of floats, no objects") from error
    if stored.dtype.kind != "f" or stored.dtype.itemsize not in (2, 4, 8):
        raise ValueError(f"{path} ({key}): found dtype {stored.dtype}, expected float16, float32 or float64")
    if stored.ndim != 2 or stored.shape[1] == 0:
        rows = "rows" if num_rows is None else f"{num_rows} rows"
        raise ValueError(f"{path} ({key}): found shape {stored.shape}, expected {rows} of at least 1 column")
    return stored
