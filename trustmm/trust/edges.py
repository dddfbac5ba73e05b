"""How far a collaborative prior may be believed about interactions, without a label.

An edge that a prior was trained on looks right to it whatever it is: in-sample similarity cannot tell. So edges are
folded, each is judged by a prior that never saw it, and its similarity is ranked among pairs drawn at random, the null.
The rank p is a p-value, uniform for an edge injected from that null; it is no probability of being spurious, because a
true edge of a user with few others looks like chance, too.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from trustmm.exact import weighted
from trustmm.graph.edges import Edges, IntArray
from trustmm.prior.lightgcn import Prior
from trustmm.seeding import stream
from trustmm.trust.storey import Estimate

# Shapes: E edges, L nodes of one side and R of the other, B nodes of a block, N drawn partners, D width.
FOLDS = 5
DRAWN = 200
"""Partners drawn for every user and item."""
BLOCK = 1 << 17
"""Drawn pairs whose rows are gathered at a time (32 MiB at width 64)."""
RESAMPLES = 200
"""Of the bootstrap."""
Fit = Callable[[Edges], Prior]
NullName = Literal["uniform", "degree"]
Floats = NDArray[np.float64]


def fold_edges(edges: Edges, rng: np.random.Generator) -> IntArray:
    """The fold of each edge, (E,): 0 to `FOLDS` - 1, or -1 for one that is never left out and has no evidence.

    Without any one fold every user and every item with edges keeps one. Folds are not balanced within users: a user
    would lose less else of its edges where it has a spurious one in the fold, and stand out among those drawn.
    """
    order = rng.permutation(len(edges))
    label = np.empty(len(edges), dtype=np.int64)
    label[order] = np.arange(len(edges)) % FOLDS
    for nodes, count in ((edges.users, edges.num_users), (edges.items, edges.num_items)):
        label[_only_in_one_fold(nodes, label, order, count)] = -1
    return label


def _only_in_one_fold(nodes: IntArray, label: IntArray, order: IntArray, count: int) -> IntArray:
    """Of each node whose edges are all of one fold, the edge that comes first in `order`."""
    held = np.zeros((count, FOLDS + 1), dtype=bool)
    held[nodes, label] = True  # label -1 is the last column
    alone = np.flatnonzero((held.sum(axis=1) == 1) & ~held[:, -1])
    first = np.full(count, -1)
    first[nodes[order[::-1]]] = order[::-1]
    return first[alone]


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


def p_values(rows: IntArray, columns: IntArray, left_LD: NDArray, right_RD: NDArray, null: Null) -> Floats:
    """(1 + drawn partners that are at least as similar) / (1 + drawn partners) of each pair, (E,).

    NaN without evidence: where no unobserved partner was drawn, or an embedding is zero, of a node without edges.

    Args:
        rows: nodes on the left, (E,).
        columns: nodes on the right, (E,).
        left_LD: embeddings.
        right_RD: embeddings.
        null: drawn for the nodes on the left.
    """
    order = np.argsort(rows, kind="stable")
    present, first = np.unique(rows[order], return_index=True)
    ends = np.append(first, len(rows))
    result = np.empty(len(rows))
    block = max(1, BLOCK // DRAWN)
    for start in range(0, len(present), block):
        nodes = present[start : start + block]
        mine = order[ends[start] : ends[start + len(nodes)]]
        drawn_BN = np.matmul(right_RD[null.index[nodes]], left_LD[nodes][:, :, None])[:, :, 0]
        drawn_BN[~null.free[nodes]] = -np.inf
        own = np.matmul(right_RD[columns[mine]][:, None, :], left_LD[rows[mine]][:, :, None])[:, 0, 0]
        place = np.searchsorted(nodes, rows[mine])
        above, drawn = (drawn_BN[place] >= own[:, None]).sum(axis=1), null.free[nodes].sum(axis=1)[place]
        result[mine] = np.where(drawn > 0, (1 + above) / (1 + drawn), np.nan)
    known = np.any(left_LD != 0, axis=1)[rows] & np.any(right_RD != 0, axis=1)[columns]
    return np.where(known, result, np.nan)


@dataclass(frozen=True, eq=False)
class Judged:
    """A graph as judged by priors that did not see the judged edges."""

    edges: Edges
    user_p: Floats
    """Of each edge among items drawn for its user, (E,); NaN without evidence."""
    item_p: Floats
    """Of each edge among users drawn for its item, (E,)."""
    whole: Callable[[], Prior]
    """The prior of all these edges."""
    priors: Callable[[], list[Prior]]
    """One without each fold."""

    @property
    def p(self) -> Floats:
        """The mean of both p-values, (E,): the user's end sees uniform noise best, the item's end popular noise."""
        return (self.user_p + self.item_p) / 2


class CrossFit:
    """Edges in folds, and the priors without one or two of these.

    Args:
        edges: the graph as observed.
        fit: gives the prior of a graph.
        null: what pairs are compared with.
        seed: of folds and draws.
    """

    def __init__(self, edges: Edges, *, fit: Fit, null: NullName, seed: int) -> None:
        self.edges, self.fit, self.null, self.seed = edges, fit, null, seed
        self.label = fold_edges(edges, stream(seed, "trust", "folds"))
        self._priors: dict[frozenset[int], Prior] = {}

    @functools.cached_property
    def items_drawn(self) -> Null:
        """For every user."""
        return draw_null(self.edges, self.null, stream(self.seed, "trust", "items"))

    @functools.cached_property
    def users_drawn(self) -> Null:
        """For every item."""
        return draw_null(swapped(self.edges), self.null, stream(self.seed, "trust", "users"))

    def without(self, *folds: int) -> Edges:
        """All edges but those of these folds."""
        return self.edges.subset(np.flatnonzero(~np.isin(self.label, folds)))

    def fold(self, fold: int) -> Edges:
        """The edges of one fold."""
        return self.edges.subset(np.flatnonzero(self.label == fold))

    def prior(self, *folds: int) -> Prior:
        """The prior without these folds, fitted once."""
        key = frozenset(folds)
        if key not in self._priors:
            self._priors[key] = self.fit(self.without(*folds))
        return self._priors[key]

    def user_p(self, pairs: Edges, prior: Prior) -> Floats:
        """p-values of pairs among the items drawn for their users, (E,)."""
        return p_values(pairs.users, pairs.items, prior.user_UD, prior.item_ID, self.items_drawn)

    def judged(self, *outer: int) -> Judged:
        """The graph without the outer folds, each edge judged by the prior without its own fold and these."""
        edges = self.without(*outer)
        label = self.label[~np.isin(self.label, outer)]
        user_p, item_p = np.full(len(edges), np.nan), np.full(len(edges), np.nan)
        for fold in set(range(FOLDS)) - set(outer):
            mine = np.flatnonzero(label == fold)
            pairs, prior = edges.subset(mine), self.prior(fold, *outer)
            user_p[mine] = self.user_p(pairs, prior)
            item_p[mine] = p_values(pairs.items, pairs.users, prior.item_ID, prior.user_UD, self.users_drawn)
        return Judged(edges, user_p, item_p, lambda: self.prior(*outer), lambda: self.fold_priors(*outer))

    def fold_priors(self, *outer: int) -> list[Prior]:
        """The priors without each fold and the outer ones."""
        return [self.prior(fold, *outer) for fold in range(FOLDS) if fold not in outer]

    def alignment_of(self, pairs: Edges) -> Estimate:
        """The alignment of pairs that are no training edges, by the mean p over the priors without one fold."""
        p = np.mean([self.user_p(pairs, self.prior(fold)) for fold in range(FOLDS)], axis=0)
        return alignment(pairs, p, self.seed)


def alignment(edges: Edges, user_p: Floats, seed: int) -> Estimate:
    """A = 1 - mean p: about 1/2 where the prior knows nothing, 1 where it ranks every edge above chance.

    Args:
        edges: judged pairs.
        user_p: their p-values; NaN does not count.
        seed: of the bootstrap over users that gives the standard error.
    """
    known = np.isfinite(user_p)
    count = np.bincount(edges.users[known], minlength=edges.num_users)
    total = np.bincount(edges.users[known], weights=1 - user_p[known], minlength=edges.num_users)
    users = np.flatnonzero(count)
    if not len(users):
        return Estimate(np.nan, np.nan)
    rng, again = stream(seed, "trust", "bootstrap"), np.empty(RESAMPLES)
    for turn in range(RESAMPLES):
        drawn = users[rng.integers(0, len(users), len(users))]
        again[turn] = total[drawn].sum() / count[drawn].sum()
    return Estimate(float(total.sum() / count.sum()), float(again.std(ddof=1)))


def spurious_share(observed: Estimate, trusted: Estimate) -> Estimate:
    """The share of spurious edges, pi = (A_val - A) / (A_val - 1/2), in [0, 1].

    Spurious edges have a mean p of 1/2, right ones that of trusted pairs of the same kind. Without such pairs the share
    is not identified. NaN where the prior knows nothing of the trusted pairs either.

    Args:
        observed: alignment of the training edges.
        trusted: alignment of the pairs known to be right, such as a clean validation set, by the same priors.
    """
    room = trusted.value - 0.5
    if not room > 2 * trusted.standard_error:
        return Estimate(np.nan, np.nan)
    share = (trusted.value - observed.value) / room
    error = np.hypot(observed.standard_error, (1 - share) * trusted.standard_error) / room
    return Estimate(float(np.clip(share, 0, 1)), float(error))


def swapped(edges: Edges) -> Edges:
    """Items as users and users as items."""
    return Edges.of(edges.items, edges.users, edges.num_items, edges.num_users)
