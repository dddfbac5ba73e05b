"""How much room a cache takes, and what goes first when it takes too much."""

import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from trustmm.store.files import locked

UNITS = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
IN_USE = ".lock"
"""Suffix of the files that processes hold; they are empty, and stay."""
HALF_WRITTEN = 24 * 3600.0
"""Seconds after which a file that was never moved into place is what a kill left behind."""


@dataclass(frozen=True)
class Kept:
    """A file of a cache."""

    path: Path
    kind: str
    size: int
    used: float
    """When it was last used, seconds since the epoch."""


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
    """Remove what was least recently used until the rest fits; returns what went.

    One process at a time. A reader that has opened a file goes on reading it; one that comes later computes again.

    Args:
        folder: of the cache.
        limit: bytes.
        keep: stays, however large.
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
    """Bytes for people: "1.5 GB"."""
    unit = max((name for name in UNITS if size >= UNITS[name]), key=UNITS.__getitem__, default="B")
    return f"{size / UNITS[unit]:.3g} {unit}"
