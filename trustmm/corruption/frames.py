"""Damage along the time axis of an item's feature: frames that come from other items, frames at the wrong time."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from trustmm.dataset.frames import Frames
from trustmm.exact import decimal
from trustmm.graph.edges import IntArray

# Shapes: I items, N frames of all items together. How much is drawn does not depend on which items are chosen, so an
# item is damaged in the same way wherever it is among them.
FrameKind = Literal["frames", "rotate"]


def damage_frames(
    clean: Frames, chosen: IntArray, kind: str, share: float, rng: np.random.Generator
) -> tuple[Frames, NDArray[np.bool_]]:
    """Damaged frames, and which of them are not their item's, (N,).

    Args:
        clean: left as they are.
        chosen: items that are damaged.
        kind: `frames`: floor(share * n) of an item's n frames, at random, become frames of other items, all of these
            equally likely; `rotate`: an item's frames move round in a circle by a random step, so that each is at the
            wrong time, and the mean stays.
        share: in [0, 1], for `frames`.
        rng: of the draws.
    """
    touched = np.zeros(len(clean.lengths), dtype=bool)
    touched[chosen] = True
    touched = touched[clean.items]
    if kind == "rotate":
        return _rotated(clean, touched, rng), np.zeros(len(touched), dtype=bool)
    wrong = touched & (_random_place(clean, rng) < _floors(share, clean.lengths)[clean.items])
    return _mixed(clean, wrong, rng), wrong


def _rotated(clean: Frames, touched: NDArray[np.bool_], rng: np.random.Generator) -> Frames:
    step = 1 + np.floor(rng.random(len(clean.lengths)) * np.maximum(clean.lengths - 1, 0)).astype(np.int64)
    item, start = clean.items, clean.offsets[clean.items]
    place = np.arange(len(item)) - start
    source = np.where(touched, start + (place + step[item]) % clean.lengths[item], start + place)
    return Frames(clean.rows_NX[source], clean.offsets)


def _mixed(clean: Frames, wrong: NDArray[np.bool_], rng: np.random.Generator) -> Frames:
    item, count = clean.items, len(clean.rows_NX)
    strangers = count - clean.lengths[item]
    # The frames of all other items, in a circle that begins after one's own.
    step = np.floor(rng.random(count) * strangers).astype(np.int64)
    source = (clean.offsets[item + 1] + step) % count
    return Frames(clean.rows_NX[np.where(wrong & (strangers > 0), source, np.arange(count))], clean.offsets)


def _random_place(clean: Frames, rng: np.random.Generator) -> IntArray:
    """A random order of each item's frames: the place of each, (N,)."""
    order = np.lexsort((rng.random(len(clean.items)), clean.items))
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order)) - clean.offsets[clean.items]
    return place


def _floors(share: float, lengths: IntArray) -> IntArray:
    """floor(share * n) with the decimal number that was typed, (I,)."""
    typed = decimal(share)
    return lengths * typed.numerator // typed.denominator
