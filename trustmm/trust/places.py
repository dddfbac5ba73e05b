"""The place of a user-item pair among partners drawn at random, by one witness or by several."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from trustmm.exact import weighted
from trustmm.graph.edges import Edges, IntArray

# Shapes: E edges, L nodes of one side and R of the other, B nodes of a block, N drawn partners, D width.
DRAWN = 200
"""Partners drawn for every user and item."""
BLOCK = 1 << 17
"""Drawn pairs whose rows are gathered at a time (32 MiB at width 64)."""
NullName = Literal["uniform", "degree"]
Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Null:
    """Partners drawn for every node of one side; observed pairs do not count."""

    index: NDArray[np.int32]
    """(L, N)."""
    free: NDArray[np.bool_]
    """Which of them are not observed, (L, N)."""


def draw_null(edges: Edges, name: NullName, rng: np.random.Generator) -> Null:
    """Items drawn for every user, uniformly or in proportion to the root of their degree.

    Args:
        edges: observed pairs; give them swapped for users drawn for items.
        name: of the distribution.
        rng: of the draw.
    """
    shape = edges.num_users, DRAWN
    if name == "uniform":
        index = rng.integers(0, edges.num_items, shape, dtype=np.int32)
    else:
        roots = np.floor(np.sqrt(edges.item_degree) * 2**20).astype(np.int64)
        index = weighted(rng, roots, shape).astype(np.int32)
    free = np.empty(shape, dtype=bool)
    for start in range(0, len(index), BLOCK // DRAWN):
        part = slice(start, start + BLOCK // DRAWN)
        users = np.arange(start, start + len(index[part]))[:, None]
        np.logical_not(edges.contains(users * edges.num_items + index[part]), out=free[part])
    return Null(index, free)


class Witness(NamedTuple):
    """Embeddings whose inner products say how well a pair fits, and how far they are to be believed."""

    left_LD: NDArray[np.float32]
    right_RD: NDArray[np.float32]
    alignment: float = 1.0
    """A of what is believed, see `evidence`."""
    left_L: Floats | None = None
    """How far what it says of each node on the left is believed, from 0 to 1; None is 1."""
    right_R: Floats | None = None

    @property
    def turned(self) -> "Witness":
        """The same with left and right exchanged."""
        return Witness(self.right_RD, self.left_LD, self.alignment, self.right_R, self.left_L)


def evidence(above: IntArray, level: IntArray, count: IntArray, alignment: float, believed: Floats) -> Floats:
    """How much likelier a place is of a right pair than of one drawn at random, as a logarithm.

    p-values of right pairs are taken to have the density kappa p^(kappa - 1), whose mean is 1 - A, those of the others
    to be uniform. A place among n is a p-value between `above` / n and (`above` + `level` + 1) / n; with f the mean
    of the density there, the evidence is log(b f + 1 - b).

    Args:
        above: of the others, how many fit better.
        level: and how many fit as well.
        count: n, all of them and the pair itself.
        alignment: A, kappa = (1 - A) / A; 1/2 says nothing, whatever the place.
        believed: b, the probability that the witness knows the pair's nodes at all.
    """
    kappa = (1 - alignment) / alignment
    power = np.arange(np.max(count, initial=1) + 1.0) ** kappa
    density = (power[above + level + 1] - power[above]) * count ** (1 - kappa) / (level + 1)
    found: Floats = np.log1p(believed * (density - 1))
    return found


def places(values: NDArray[Any]) -> tuple[IntArray, IntArray]:
    """Of each value along the last axis, how many of the others are larger, and how many are as large."""
    ascending, own = (torch.from_numpy(np.ascontiguousarray(one)) for one in (np.sort(values, axis=-1), values))
    below, upto = (torch.searchsorted(ascending, own, right=right).numpy() for right in (False, True))
    return values.shape[-1] - upto, upto - below - 1


def p_values(rows: IntArray, columns: IntArray, witnesses: Sequence[Witness], null: Null) -> Floats:
    """(1 + drawn partners that fit at least as well) / (1 + drawn partners) of each pair, (E,).

    Where witnesses are several, or believed in part, a pair fits as well as the sum of their `evidence`, which goes by
    its place and the drawn partners' places among all of them. So a pair that was drawn like its rivals stands anywhere
    among them with equal chance, whatever the alignments.

    NaN without evidence: where no unobserved partner was drawn, or where to every witness one of the nodes is zero, as
    nodes without edges are.

    Args:
        rows: nodes on the left, (E,).
        columns: nodes on the right, (E,).
        witnesses: one or more.
        null: drawn for the nodes on the left.
    """
    order = np.argsort(rows, kind="stable")
    present, first = np.unique(rows[order], return_index=True)
    ends = np.append(first, len(rows))
    result = np.empty(len(rows))
    block = max(1, BLOCK // DRAWN)
    plain = len(witnesses) == 1 and witnesses[0].left_L is None and witnesses[0].right_R is None
    for start in range(0, len(present), block):
        nodes = present[start : start + block]
        free_BN = null.free[nodes]
        heard = [_Heard(one, nodes, null.index[nodes], free_BN) for one in witnesses]
        for at in range(ends[start], ends[start + len(nodes)], block):
            mine = order[at : min(at + block, ends[start + len(nodes)])]
            place = np.searchsorted(nodes, rows[mine])
            said = [one.fits(place, columns[mine]) if plain else one.evidence(place, columns[mine]) for one in heard]
            drawn_EN, own_E = (functools.reduce(np.add, values) for values in zip(*said, strict=True))
            above = ((drawn_EN >= own_E[:, None]) & free_BN[place]).sum(axis=1)
            drawn = free_BN.sum(axis=1)[place]
            result[mine] = np.where(drawn > 0, (1 + above) / (1 + drawn), np.nan)
    known = np.zeros(len(rows), dtype=bool)
    for witness in witnesses:
        known |= np.any(witness.left_LD != 0, axis=1)[rows] & np.any(witness.right_RD != 0, axis=1)[columns]
    return np.where(known, result, np.nan)


class _Heard:
    """A witness about some nodes on the left and the partners drawn for them.

    Args:
        witness: who is heard.
        nodes: distinct, (B,).
        index_BN: drawn partners.
        free_BN: which of them are not observed.
    """

    def __init__(
        self, witness: Witness, nodes: IntArray, index_BN: NDArray[np.int32], free_BN: NDArray[np.bool_]
    ) -> None:
        self.witness, self.nodes, self.index_BN = witness, nodes, index_BN
        self.left_BD = witness.left_LD[nodes]
        # Equal rows fit equally well, alone or among others, which BLAS does not promise.
        self.fit_BN = np.einsum("bnd,bd->bn", witness.right_RD[index_BN], self.left_BD)
        self.fit_BN[~free_BN] = -np.inf
        self.count_B = 1 + free_BN.sum(axis=1)

    @functools.cached_property
    def believed_BN(self) -> Floats:
        """How far the witness is believed about the drawn pairs."""
        return self._believed(self.nodes[:, None], self.index_BN)

    @functools.cached_property
    def drawn_places(self) -> tuple[IntArray, IntArray]:
        """Of each drawn partner, how many others fit better and how many as well, (B, N)."""
        return places(self.fit_BN)

    def fits(self, place: IntArray, columns: IntArray) -> tuple[NDArray[Any], NDArray[Any]]:
        """How well the drawn partners fit, (E, N), and how well the own ones do, (E,).

        Args:
            place: of each pair's node, (E,).
            columns: each pair's own partner, (E,).
        """
        return self.fit_BN[place], np.einsum("ed,ed->e", self.witness.right_RD[columns], self.left_BD[place])

    def evidence(self, place: IntArray, columns: IntArray) -> tuple[Floats, Floats]:
        """The same as evidence, by places among the drawn partners that nobody observed and the own one."""
        fit_EN, fit_E = self.fits(place, columns)
        count_E, alignment = self.count_B[place], self.witness.alignment
        better_EN, equal_EN = fit_EN > fit_E[:, None], fit_EN == fit_E[:, None]
        own_E = evidence(
            better_EN.sum(axis=1), equal_EN.sum(axis=1), count_E, alignment, self._believed(self.nodes[place], columns)
        )
        above_EN, level_EN = (among[place] for among in self.drawn_places)
        above_EN += ~(better_EN | equal_EN)
        level_EN += equal_EN
        observed_EN = np.isneginf(fit_EN)  # are not asked for
        above_EN[observed_EN] = level_EN[observed_EN] = 0
        return evidence(above_EN, level_EN, count_E[:, None], alignment, self.believed_BN[place]), own_E

    def _believed(self, left: NDArray[Any], right: NDArray[Any]) -> Floats:
        """How far the witness is believed about pairs, in the shape that their nodes make together."""
        sides = ((self.witness.left_L, left), (self.witness.right_R, right))
        known = [np.ones(nodes.shape) if one is None else one[nodes] for one, nodes in sides]
        return known[0] * known[1]
