"""The size of a cache, and which entries go first when it becomes too large."""

import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from trustmm.store.files import locked

UNITS = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
IN_USE = ".lock"
"""Suffix of lock files; they are empty and are not removed."""
HALF_WRITTEN = 24 * 3600.0
"""Seconds after which a file that was never moved into place counts as left behind by a killed process."""


@dataclass(frozen=True)
class Kept:
    """A file of a cache."""

    path: Path
    kind: str
    size: int
    used: float
    """Time of last use, in seconds since the epoch."""


def kept(folder: Path) -> list[Kept]:
    """Everything in a cache, least recently used first; locks are left out."""
    return sorted(_files(folder), key=lambda file: (file.used, file.path))


def _files(folder: Path) -> Iterator[Kept]:
    for path in folder.glob("*/*"):
        try:
            facts = path.lstat()
        except FileNotFoundError:  # another process has just moved or removed it
            continue
        if path.suffix != IN_USE and path.is_file():
            yield Kept(path, path.parent.name, facts.st_size, facts.st_mtime)


def evict(folder: Path, limit: int, *, keep: Path | None = None) -> Sequence[Path]:
    """Remove the least recently used files until the rest fits; returns what was removed.

    One process at a time does this. A reader that has a file open can finish reading; later readers compute again.

    Args:
        folder: folder of the cache.
        limit: size in bytes.
        keep: files that stay, however large.
    """
    with locked(folder / f"room{IN_USE}"):
        files = kept(folder)
        excess, gone = sum(file.size for file in files) - limit, []
        for file in files:
            fresh = file.path.name.startswith(".") and time.time() - file.used < HALF_WRITTEN
            if excess <= 0:
                break
            if file.path != keep and not fresh:
                file.path.unlink(missing_ok=True)
                excess -= file.size
                gone.append(file.path)
    return gone


def bytes_of(key: str, value: object) -> int | None:
    """A limit as typed: "20 GB", a number of GB, or null for none.

    Raises: ValueError that names the key.
    """
    if value is None:
        return None
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?B)?\s*", str(value), re.IGNORECASE)
    if isinstance(value, bool) or match is None:
        raise ValueError(f"{key} must be a size such as '20 GB', a number of GB, or null for no limit, got {value!r}")
    return int(float(match[1]) * UNITS[(match[2] or "GB").upper()])


def size_text(size: int) -> str:
    """A size for human readers: "1.5 GB"."""
    unit = max((name for name in UNITS if size >= UNITS[name]), key=UNITS.__getitem__, default="B")
    return f"{size / UNITS[unit]:.3g} {unit}"
