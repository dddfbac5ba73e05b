"""Small raw files in every format, made on the spot."""

import gzip
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest

from tests.odd import tmp_path as tmp_path

USERS, ITEMS = 12, 8


@pytest.fixture
def pairs() -> list[tuple[str, str, int]]:
    """User, item, time: a dense block of 12 x 8 pairs in which everybody has five or more, in random order."""
    every = [
        (f"U{user:02d}", f"B{item:09d}", 1_400_000_000 + 97 * user + 13 * item)
        for user in range(USERS)
        for item in range(ITEMS)
    ]
    order = np.random.default_rng(3).permutation(len(every))
    return [every[place] for place in order]


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Writes lines to a file below the test's folder, packed if its name ends with .gz."""

    def write_lines(name: str, lines: Iterable[str | bytes]) -> Path:
        path = tmp_path / name
        content = b"".join((line if isinstance(line, bytes) else line.encode()) + b"\n" for line in lines)
        path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
        return path

    return write_lines
