"""How far a collaborative prior may be believed about interactions, without a label.

An edge that a prior was trained on looks right to it whatever it is: in-sample similarity cannot tell. So edges are
folded, each is judged by a prior that never saw it, and its similarity is ranked among pairs drawn at random, the null.
The rank p is a p-value, uniform for an edge injected from that null; it is no probability of being spurious, because a
true edge of a user with few others looks like chance, too.
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from trustmm.exact import weighted
from trustmm.graph.edges import Edges, IntArray
from trustmm.prior.lightgcn import Prior
from trustmm.seeding import stream
from trustmm.trust.content import profiles
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
Side = Literal["user", "item"]
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


class Witness(NamedTuple):
    """Embeddings whose inner products say how well a pair fits."""

    left_LD: NDArray[np.float32]
    right_RD: NDArray[np.float32]
    voice: float = 1.0
    """How much it counts among several."""


def p_values(rows: IntArray, columns: IntArray, witnesses: Sequence[Witness], null: Null) -> Floats:
    """(1 + drawn partners that fit at least as well) / (1 + drawn partners) of each pair, (E,).

    Of several witnesses the ranks are added, each times its voice: a pair's rank and those of the drawn partners, among
    all of them, so that a pair that was drawn like these stands anywhere among them with equal chance.

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
    for start in range(0, len(present), block):
        nodes = present[start : start + block]
        mine = order[ends[start] : ends[start + len(nodes)]]
        place = np.searchsorted(nodes, rows[mine])
        free_BN = null.free[nodes]
        fits = [_fits(one, nodes, place, columns[mine], null.index[nodes], free_BN) for one in witnesses]
        voices = [one.voice for one in witnesses]
        drawn_EN, own_E = (fits[0][0][place], fits[0][1]) if len(fits) == 1 else _added_ranks(fits, voices, place)
        above, drawn = ((drawn_EN >= own_E[:, None]) & free_BN[place]).sum(axis=1), free_BN.sum(axis=1)[place]
        result[mine] = np.where(drawn > 0, (1 + above) / (1 + drawn), np.nan)
    known = np.zeros(len(rows), dtype=bool)
    for left_LD, right_RD, _ in witnesses:
        known |= np.any(left_LD != 0, axis=1)[rows] & np.any(right_RD != 0, axis=1)[columns]
    return np.where(known, result, np.nan)


def _fits(
    witness: Witness, nodes: IntArray, place: IntArray, columns: IntArray, drawn_BN: IntArray, free_BN: NDArray[np.bool_]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """How well the partners drawn for each node fit, (B, N), and how well each pair does, (E,)."""
    left_BD, right_RD = witness.left_LD[nodes], witness.right_RD
    fit_BN = np.matmul(right_RD[drawn_BN], left_BD[:, :, None])[:, :, 0]
    fit_BN[~free_BN] = -np.inf
    own_E = np.matmul(right_RD[columns][:, None, :], left_BD[place][:, :, None])[:, 0, 0]
    return fit_BN, own_E


def _added_ranks(
    fits: Sequence[tuple[NDArray[np.float32], NDArray[np.float32]]], voices: Sequence[float], place: IntArray
) -> tuple[Floats, Floats]:
    """Ranks of the drawn partners of each pair, (E, N), and of the pair, (E,), among all of these; equal ones share."""
    drawn_EN, own_E = np.zeros((len(place), fits[0][0].shape[1])), np.zeros(len(place))
    for (fit_BN, fit_E), voice in zip(fits, voices, strict=True):
        ahead_EN, level_EN = fit_BN[place] > fit_E[:, None], fit_BN[place] == fit_E[:, None]
        drawn_EN += voice * (rankdata(fit_BN, axis=1)[place] + ahead_EN + 0.5 * level_EN)
        own_E += voice * (1 + (~ahead_EN).sum(axis=1) - 0.5 * level_EN.sum(axis=1))
    return drawn_EN, own_E


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
    content: Callable[[Edges], Floats] | None = None
    """What the items' content says for pairs, from 0 to its voice beside that of clicks, (E,); None where it is mute."""

    @property
    def p(self) -> Floats:
        """The mean of both p-values, (E,): the user's end sees uniform noise best, the item's end popular noise."""
        return (self.user_p + self.item_p) / 2


class CrossFit:
    """Edges in folds, and the priors without one or two of these.

    Content can be a second witness. It is as loud, beside clicks, as it exceeds chance on the very edges that are
    judged, each witness alone and cross-fitted: content that does not follow clicks is mute.

    Args:
        edges: the graph as observed.
        fit: gives the prior of a graph.
        null: what pairs are compared with.
        seed: of folds and draws.
        content: what is believed about each item's content, see `believed_content`; None where clicks alone testify.
    """

    def __init__(
        self, edges: Edges, *, fit: Fit, null: NullName, seed: int, content: NDArray[np.float32] | None = None
    ) -> None:
        self.edges, self.fit, self.null, self.seed, self.content = edges, fit, null, seed, content
        self.label = fold_edges(edges, stream(seed, "trust", "folds"))
        self._priors: dict[frozenset[int], Prior] = {}
        self._voices: dict[frozenset[int], tuple[float, float]] = {}

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

    def voices(self, *outer: int) -> tuple[float, float]:
        """Of clicks and of content: alignment above chance on the edges without the outer folds."""
        key = frozenset(outer)
        if self.content is None:
            return 1.0, 0.0
        if key not in self._voices:
            alone = ((1.0, 0.0), (0.0, 1.0))
            clicks, content = (max(0.0, 0.5 - _mean(self._cross_fitted(outer, one, "user"))) for one in alone)
            self._voices[key] = (clicks, content) if clicks or content else (1.0, 0.0)
        return self._voices[key]

    def witnesses(self, voices: tuple[float, float], *folds: int) -> list[Witness]:
        """Users and items as the priors without these folds see them; who has no voice is left out."""
        clicks, content = voices
        found = []
        if clicks:
            prior = self.prior(*folds)
            found.append(Witness(prior.user_UD, prior.item_ID, clicks))
        if content and self.content is not None:
            found.append(Witness(profiles(self.without(*folds), self.content), self.content, content))
        return found

    def user_p(self, pairs: Edges, witnesses: Sequence[Witness]) -> Floats:
        """p-values of pairs among the items drawn for their users, (E,)."""
        return p_values(pairs.users, pairs.items, witnesses, self.items_drawn)

    def item_p(self, pairs: Edges, witnesses: Sequence[Witness]) -> Floats:
        """p-values of pairs among the users drawn for their items, (E,)."""
        turned = [Witness(right_RD, left_LD, voice) for left_LD, right_RD, voice in witnesses]
        return p_values(pairs.items, pairs.users, turned, self.users_drawn)

    def predicted(self, held: Edges, graph: Edges) -> float:
        """Mean of 1 - p of left-out pairs by the prior of a graph; one of which it knows nothing counts 1/2."""
        prior = self.fit(graph)
        p = self.user_p(held, [Witness(prior.user_UD, prior.item_ID)])
        return float(np.where(np.isfinite(p), 1 - p, 0.5).mean())

    def judged(self, *outer: int) -> Judged:
        """The graph without the outer folds, each edge judged by witnesses that saw neither its own fold nor these."""
        voices = self.voices(*outer)
        user_p, item_p = (self._cross_fitted(outer, voices, side) for side in ("user", "item"))
        return self.as_judged(user_p, item_p, *outer)

    def as_judged(self, user_p: Floats, item_p: Floats, *outer: int) -> Judged:
        """The graph without the outer folds, with p-values that are already known."""
        clicks, content = self.voices(*outer)

        def says(pairs: Edges) -> Floats:
            p = self.user_p(pairs, self.witnesses((0.0, 1.0), *outer))
            return content / clicks * np.where(np.isfinite(p), 1 - p, 0.5)

        speaks = says if clicks and content else None
        edges = self.without(*outer)
        return Judged(edges, user_p, item_p, lambda: self.prior(*outer), lambda: self.fold_priors(*outer), speaks)

    def _cross_fitted(self, outer: tuple[int, ...], voices: tuple[float, float], side: Side) -> Floats:
        edges = self.without(*outer)
        label = self.label[~np.isin(self.label, outer)]
        p = np.full(len(edges), np.nan)
        for fold in set(range(FOLDS)) - set(outer):
            mine = np.flatnonzero(label == fold)
            judge = self.user_p if side == "user" else self.item_p
            p[mine] = judge(edges.subset(mine), self.witnesses(voices, fold, *outer))
        return p

    def fold_priors(self, *outer: int) -> list[Prior]:
        """The priors without each fold and the outer ones."""
        return [self.prior(fold, *outer) for fold in range(FOLDS) if fold not in outer]

    def alignment_of(self, pairs: Edges) -> Estimate:
        """The alignment of pairs that are no training edges, by the mean p over the priors without one fold."""
        voices = self.voices()
        p = np.mean([self.user_p(pairs, self.witnesses(voices, fold)) for fold in range(FOLDS)], axis=0)
        return alignment(pairs, p, self.seed)


def _mean(p: Floats) -> float:
    known = p[np.isfinite(p)]
    return float(known.mean()) if len(known) else 0.5


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
