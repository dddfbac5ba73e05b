"""Lines of a text file, plain or gzip, in bounded memory."""

import gzip
import io
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

GZIP_MAGIC = b"\x1f\x8b"
LONGEST_LINE = 4 * 2**20
"""Bytes; the longest record of the published files has some hundred thousand."""
MOST_EXPANSION = 500
"""Unpacked bytes for a packed one; text packs to a third or a tenth, what packs better than this is no data."""
UNSUSPICIOUS = 64 * 2**20
"""Unpacked bytes below which the expansion is not looked at."""


def is_gzip(path: Path) -> bool:
    """Whether the file is packed, by its first bytes."""
    with path.open("rb") as handle:
        return handle.read(2) == GZIP_MAGIC


def open_binary(path: Path) -> BinaryIO:
    """The bytes of a file, unpacked if it is gzip."""
    if is_gzip(path):
        return io.BufferedReader(gzip.open(path, "rb"), 2**20)
    return path.open("rb", buffering=2**20)


def numbered_lines(path: Path) -> Iterator[tuple[int, bytes | None]]:
    """Lines with their numbers from 1, line ends included; None for one longer than `LONGEST_LINE`.

    Raises: ValueError for a gzip file that is damaged, cut off, or expands beyond all reason.
    """
    limit = max(UNSUSPICIOUS, MOST_EXPANSION * path.stat().st_size)
    number = total = 0
    try:
        with open_binary(path) as handle:
            while line := handle.readline(LONGEST_LINE + 1):
                number += 1
                total += len(line)
                if len(line) > LONGEST_LINE:
                    total += _skip_rest(handle, line, limit)
                    yield number, None
                else:
                    yield number, line
                if total > limit:
                    raise ValueError(f"{path}: unpacks to more than {MOST_EXPANSION} times its size; refused as unsafe")
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{path}: damaged after line {number} ({error}); fetch the file again") from error


def _skip_rest(handle: BinaryIO, line: bytes, limit: int) -> int:
    """Read on to the end of the line, without keeping it; bytes read."""
    skipped = 0
    while not line.endswith(b"\n") and skipped <= limit:
        line = handle.readline(2**20)
        skipped += len(line)
        if not line:
            break
    return skipped
