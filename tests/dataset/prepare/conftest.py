"""Small raw files in every format, made on the spot."""

import gzip
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

USERS, ITEMS = 12, 8
WIDTH = 4


class WordEncoder:
    """An encoder without a library: numbers drawn from the hash of a text. Counts its calls; can be told to fail."""

    def __init__(self, fail_at: int | None = None) -> None:
        self.calls: list[list[str]] = []
        self.fail_at = fail_at

    def identity(self) -> Mapping[str, Any]:
        return {"library": "words", "version": "1"}

    def encode(self, batch: Sequence[str]) -> NDArray[np.float32]:
        if len(self.calls) == self.fail_at:
            raise KeyboardInterrupt
        self.calls.append(list(batch))
        rows = [np.frombuffer(hashlib.sha256(text.encode()).digest()[: 4 * WIDTH], dtype="<u4") for text in batch]
        return (np.stack(rows) / 2**32).astype(np.float32)


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


def review_2014(user: str, item: str, time: int) -> str:
    return json.dumps({"reviewerID": user, "asin": item, "overall": 5.0, "unixReviewTime": time, "reviewText": "ok"})


def review_2023(user: str, item: str, time: int) -> str:
    return json.dumps({"rating": 4, "asin": "x" + item, "parent_asin": item, "user_id": user, "timestamp": time * 1000})


def as_csv(user: str, item: str, time: int) -> str:
    return f"{user},{item},5.0,{time}"
