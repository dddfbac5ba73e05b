"""An encoder of images that needs no model: histograms of colours and of edge directions."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trustmm.dataset.prepare.images import ImageFile, load_image

SIDE = 128
"""Pixels of the square that every image is brought to."""
LEVELS = 4
"""Of each of red, green and blue."""
CELLS = 4
"""Of the image in each direction, for edges."""
DIRECTIONS = 8
"""Of edges, over a half turn."""


class HistogramEncoder:
    """Shares of 64 colours and, in 4 x 4 cells, of 8 edge directions weighted by strength: 192 numbers an image.

    Square roots are taken, so that the distance of two rows is Hellinger's. Colours follow Swain and Ballard (1991),
    edges Dalal and Triggs (2005) without their blocks.
    """

    whole = False

    def identity(self) -> Mapping[str, Any]:
        """Library, version, method and sizes."""
        import PIL

        sizes = {"side": SIDE, "levels": LEVELS, "cells": CELLS, "directions": DIRECTIONS}
        return {"library": "trustmm", "model": "histogram", **sizes, "pillow": PIL.__version__}

    def encode(self, batch: Sequence[ImageFile]) -> NDArray[np.float32]:
        """Rows (B, 192), each half of norm 1; NaN where an image cannot be read."""
        rows = np.full((len(batch), LEVELS**3 + CELLS**2 * DIRECTIONS), np.nan, dtype=np.float32)
        for row, file in zip(rows, batch, strict=True):
            image = load_image(file.path)
            if image is not None:
                pixels = np.asarray(image.resize((SIDE, SIDE)), dtype=np.float64)
                row[:] = np.sqrt(np.concatenate([colours(pixels), edges(pixels.mean(axis=2))]))
        return rows


def colours(pixels: NDArray[np.float64]) -> NDArray[np.float64]:
    """Shares (64,) of the colours of an image (H, W, 3) with values from 0 to 255."""
    levels = (pixels * LEVELS // 256).astype(np.int64)
    place = (levels[..., 0] * LEVELS + levels[..., 1]) * LEVELS + levels[..., 2]
    return np.bincount(place.ravel(), minlength=LEVELS**3) / place.size


def edges(grey: NDArray[np.float64]) -> NDArray[np.float64]:
    """Shares (128,) of the strength of edges by cell and direction, of an image (H, W); zeros if it has no edge."""
    down, right = np.gradient(grey)
    direction = np.floor(np.arctan2(down, right) / np.pi * DIRECTIONS).astype(np.int64) % DIRECTIONS
    rows, columns = (np.arange(size) * CELLS // size for size in grey.shape)
    place = (rows[:, None] * CELLS + columns) * DIRECTIONS + direction
    strength = np.bincount(place.ravel(), weights=np.hypot(down, right).ravel(), minlength=CELLS**2 * DIRECTIONS)
    return strength / max(strength.sum(), 1e-12)
