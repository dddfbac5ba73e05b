"""Encodes inputs as feature rows, in batches that an interrupted run does not repeat."""

import logging
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from trustmm.store.cache import Cache

log = logging.getLogger(__name__)
T = TypeVar("T", contravariant=True)
U = TypeVar("U")


class Encoder(Protocol[T]):
    """Turns inputs into rows of numbers."""

    @property
    def whole(self) -> bool:
        """Whether a row depends on all inputs, so that they must be encoded in one batch."""

    def identity(self) -> Mapping[str, Any]:
        """Everything that determines the rows, as plain values: library, version, model."""

    def encode(self, batch: Sequence[T]) -> NDArray[np.float32]:
        """Rows (B, D) of a batch; NaN for an input that cannot be encoded."""


def encode(
    inputs: Sequence[U],
    encoder: Encoder[U],
    *,
    content: Callable[[U], str],
    batch_size: int,
    cache: Cache,
    label: str,
) -> NDArray[np.float32]:
    """Rows of all inputs, (N, D).

    Args:
        inputs: at least one.
        encoder: called with `batch_size` inputs at a time.
        content: what tells two inputs apart: the text itself, the hash of an image.
        batch_size: inputs of a batch.
        cache: where encoded batches are kept, keyed by the encoder's identity and the inputs.
        label: for the progress and the cache, such as "textual".

    Raises: ValueError if the encoder gives something else than a row of one width for each input.
    """
    identity, matrix = dict(encoder.identity()), np.empty((0, 0), dtype=np.float32)
    batch_size = len(inputs) if encoder.whole else batch_size
    starts = range(0, len(inputs), batch_size)
    for start in _shown(starts, label):
        batch = inputs[start : start + batch_size]
        key = {"encoder": identity, "inputs": [content(one) for one in batch]}
        rows = cache.arrays(label, key, lambda batch=batch: {"rows": encoder.encode(batch)})["rows"]  # type: ignore[misc]
        width = matrix.shape[1] if start else np.shape(rows)[-1]
        if rows.shape != (len(batch), width) or not width:
            raise ValueError(f"the {label} encoder gave shape {rows.shape}, expected {(len(batch), width)}")
        if not start:
            matrix = np.empty((len(inputs), width), dtype=np.float32)
        matrix[start : start + len(batch)] = rows
    return matrix


def _shown(starts: Sequence[int], label: str) -> Iterator[int]:
    """The starts of batches, with a bar in a terminal or about ten lines in a log."""
    if sys.stderr.isatty():
        yield from track(starts, f"{label} batches", console=Console(stderr=True), transient=True)
        return
    for number, start in enumerate(starts, start=1):
        yield start
        if number == len(starts) or number % max(1, len(starts) // 10) == 0:
            log.info("%s: %d of %d batches encoded", label, number, len(starts))
