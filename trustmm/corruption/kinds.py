"""What chosen items get instead of their features: the paper's damage, and controls beside it.

A kind is a pure function of the clean rows, the chosen items and a stream; it gives new rows, or says whose row each
chosen item gets. For growing lists of chosen items that begin
alike, `constant`, `normal`, `missing` and `replace` give an item the same row in each; those that move rows among the
chosen items cannot, for a longer list has more to move. `shift` gives what `replace` does, but to other items:
`item_order` says who comes first.
"""

import math
from collections.abc import Callable, Mapping
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from trustmm.corruption.clusters import cosine_clusters
from trustmm.graph.edges import IntArray
from trustmm.store.plugins import function

# Shapes: I items, D columns, n chosen items.
Kind = Literal["permute", "constant", "normal", "missing", "swap_similar", "replace", "shift"]
Rows = NDArray[np.float32]
BLOCK = 4096


class Replacement(Protocol):
    """A kind of damage."""

    def __call__(self, clean_ID: Rows, chosen: IntArray, rng: np.random.Generator) -> Rows:
        """What the chosen items get: (n, D), or (D,) if it is the same for all. The clean rows are left as they are."""


def permute(clean_ID: Rows, chosen: IntArray, rng: np.random.Generator) -> IntArray:
    """Each other's rows, in a random order (Eq. 2): whose row each gets, (n,)."""
    return chosen[rng.permutation(len(chosen))]


def constant(clean_ID: Rows, chosen: IntArray, rng: np.random.Generator) -> Rows:
    """The mean of all rows: content that tells no item from another."""
    return moments(clean_ID)[0]


def normal(clean_ID: Rows, chosen: IntArray, rng: np.random.Generator) -> Rows:
    """Independent normal values with the mean and the standard deviation of each column of all rows."""
    mean_D, deviation_D = moments(clean_ID)
    drawn = rng.standard_normal((len(chosen), clean_ID.shape[1]), dtype=np.float32)
    drawn *= deviation_D
    drawn += mean_D
    return drawn


def missing(clean_ID: Rows, chosen: IntArray, rng: np.random.Generator) -> Rows:
    """Zero: no content, and no edge in an item graph."""
    return np.zeros(clean_ID.shape[1], dtype=np.float32)


def swap_similar(clean_ID: Rows, chosen: IntArray, rng: np.random.Generator) -> IntArray:
    """The row of another chosen item of the same content cluster, a plausible mismatch: whose row each gets, (n,).

    The chosen items of a cluster pass their rows round in one circle of random order, so that each of them gets
    another's row; a single one keeps its own. There are as many clusters as the square root of the number of items.
    """
    label = cosine_clusters(clean_ID, math.isqrt(len(clean_ID)), rng)[chosen]
    order = np.lexsort((rng.random(len(chosen)), label))
    first = np.flatnonzero(np.diff(label[order], prepend=-2))
    follower = np.arange(1, len(chosen) + 1)
    follower[np.append(first[1:], len(chosen)) - 1] = first
    source = np.empty_like(chosen)
    source[order] = chosen[order[follower]]
    return source


def replace(clean_ID: Rows, chosen: IntArray, rng: np.random.Generator) -> IntArray:
    """The row of any other item, drawn anew for each: whose row each gets, (n,).

    The others keep theirs, so rows occur twice and more.

    Source: how DA-MRS (Xv et al., KDD 2024) makes mismatched content.
    """
    # As many numbers for every list of chosen items, so that an item gets the same row in a longer list.
    offset = rng.integers(1, max(2, len(clean_ID)), size=len(clean_ID))
    return (chosen + offset[chosen]) % len(clean_ID)


MOVES: Mapping[str, Callable[[Rows, IntArray, np.random.Generator], IntArray]] = {
    "permute": permute,
    "swap_similar": swap_similar,
    "replace": replace,
    "shift": replace,
}
"""Kinds that move rows from item to item."""
FILLS: Mapping[str, Replacement] = {"constant": constant, "normal": normal, "missing": missing}
"""Kinds that make rows."""


def replacement(kind: str) -> Replacement:
    """What a kind of ours (by name) or of a plugin (by path) gives the chosen items; ValueError if there is none."""
    if kind in MOVES:
        return lambda clean_ID, chosen, rng: clean_ID[MOVES[kind](clean_ID, chosen, rng)]
    return FILLS.get(kind) or function(kind)


def item_order(clean_ID: Rows, kind: str, rng: np.random.Generator) -> IntArray:
    """All items in the order in which they are damaged: at random, but for `shift` cluster by cluster of content, (I,).

    A subpopulation goes wrong as a whole, as when a supplier's images are lost: what is wrong is no longer a uniform
    sample of what is there.
    """
    order = rng.permutation(len(clean_ID))
    if kind != "shift":
        return order
    label = cosine_clusters(clean_ID, math.isqrt(len(clean_ID)), rng)
    place = rng.permutation(label.max() + 2)
    return order[np.argsort(place[label[order]], kind="stable")]


def moments(rows_ID: Rows) -> tuple[Rows, Rows]:
    """Mean and standard deviation of each column, (D,), summed in double precision."""
    blocks = [rows_ID[start : start + BLOCK] for start in range(0, len(rows_ID), BLOCK)]
    mean_D = sum(block.sum(axis=0, dtype=np.float64) for block in blocks) / len(rows_ID)
    variance_D = sum(((block - mean_D) ** 2).sum(axis=0) for block in blocks) / len(rows_ID)
    return mean_D.astype(np.float32), np.sqrt(variance_D).astype(np.float32)
