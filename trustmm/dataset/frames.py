"""Features with a time axis: the frames of each item, and their mean as the item's feature."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from trustmm.graph.edges import IntArray

Rows = NDArray[np.float32]
# Shapes: I items, N frames of all items together, X feature width.


@dataclass(frozen=True, eq=False)
class Frames:
    """The frames of one modality, item after item, in the order of time; an item may have none."""

    rows_NX: Rows
    """(N, X)."""
    offsets: IntArray
    """Item i has the frames offsets[i] to offsets[i + 1] - 1, (I + 1,)."""

    @property
    def lengths(self) -> IntArray:
        """Frames of each item, (I,)."""
        return np.diff(self.offsets)

    @cached_property
    def items(self) -> IntArray:
        """Whose frame each is, (N,)."""
        return np.repeat(np.arange(len(self.offsets) - 1), self.lengths)

    def pooled(self, weight_N: NDArray[np.floating] | None = None) -> Rows:
        """The mean of each item's frames, (I, X); a zero row for an item without frames or without weight.

        Args:
            weight_N: how much each frame counts, at least 0; all count alike without it.
        """
        some = self.lengths > 0
        result = np.zeros((len(some), self.rows_NX.shape[1]), dtype=np.float32)
        if not some.any():
            return result
        weight = np.ones(len(self.rows_NX)) if weight_N is None else weight_N.astype(np.float64)
        starts = self.offsets[:-1][some]
        total = np.add.reduceat(weight, starts)[:, None]
        sums = np.add.reduceat(self.rows_NX * weight[:, None], starts)
        result[some] = sums / np.where(total > 0, total, np.inf)
        return result

    def of(self, owners: IntArray) -> "Frames":
        """The same items with other items' frames: item i gets all those of `owners[i]`, (I,)."""
        lengths = self.lengths[owners]
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        source = np.arange(offsets[-1]) + np.repeat(self.offsets[owners] - offsets[:-1], lengths)
        return Frames(self.rows_NX[source], offsets)

    def filled(self, chosen: IntArray, rows: Rows) -> "Frames":
        """The chosen items with the same row in every frame: one for each, (n, X), or one for all, (X,)."""
        place = np.full(len(self.offsets) - 1, -1)
        place[chosen] = np.arange(len(chosen))
        mine = place[self.items]
        result = self.rows_NX.copy()
        result[mine >= 0] = np.broadcast_to(rows, (len(chosen), result.shape[1]))[mine[mine >= 0]]
        return Frames(result, self.offsets)

    @classmethod
    def of_clips(cls, clips: Sequence[Rows]) -> "Frames":
        """From one matrix (frames, X) for each item."""
        return cls(np.concatenate(clips), np.concatenate([[0], np.cumsum([len(clip) for clip in clips])]))
