"""How far a collaborative prior may be believed about interactions, without a label.

An edge that a prior was trained on looks right to it whatever it is: in-sample similarity cannot tell. So edges are
folded, each is judged by a prior that never saw it, and its similarity is ranked among pairs drawn at random, the null.
The rank p is a p-value, uniform for an edge injected from that null; it is no probability of being spurious, because a
true edge of a user with few others looks like chance, too.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from trustmm.graph.edges import Edges, IntArray
from trustmm.prior.lightgcn import Prior
from trustmm.seeding import stream
from trustmm.trust.content import Content, profiles
from trustmm.trust.places import DRAWN, Floats, Null, NullName, Witness, draw_null, evidence, p_values, places
from trustmm.trust.storey import Estimate

# Shapes: E edges.
FOLDS = 5
RESAMPLES = 200
"""Of the bootstrap."""
Fit = Callable[[Edges], Prior]
Side = Literal["user", "item"]
SURE = 3.0
"""Standard errors by which an alignment must exceed chance, for content to be heard and for anything to be edited."""
MOST = 0.999
"""Alignment that is counted at most."""
CLICKS = ""
"""Among the names of modalities, the witness whose embeddings are the prior's."""


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
    heard: Callable[[Edges, Floats], Floats] | None = None
    """Evidence for candidate pairs from their strength, (E,), and from content, (E,); None where content is mute."""

    @property
    def p(self) -> Floats:
        """The mean of both p-values, (E,): the user's end sees uniform noise best, the item's end popular noise."""
        return (self.user_p + self.item_p) / 2


class CrossFit:
    """Edges in folds, and the priors without one or two of these.

    Content can testify beside clicks, every modality for itself. How far it is heard follows from its own alignment on
    the very edges that are judged, cross-fitted; content that does not clearly follow clicks is mute.

    Args:
        edges: the graph as observed.
        fit: gives the prior of a graph.
        null: what pairs are compared with.
        seed: of folds and draws.
        content: by modality, what items are and how far that is believed.
    """

    def __init__(
        self, edges: Edges, *, fit: Fit, null: NullName, seed: int, content: Mapping[str, Content] | None = None
    ) -> None:
        self.edges, self.fit, self.null, self.seed, self.content = edges, fit, null, seed, content or {}
        self.label = fold_edges(edges, stream(seed, "trust", "folds"))
        self._priors: dict[frozenset[int], Prior] = {}
        self._alignments: dict[frozenset[int], dict[str, Estimate]] = {}

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

    def alignments(self, *outer: int) -> dict[str, Estimate]:
        """Of clicks and of each modality alone, on the edges without the outer folds, the spurious ones among them.

        That of a modality is A of its believed features: edges that are believed by b have 1/2 + (A - 1/2) b.
        """
        key = frozenset(outer)
        if key not in self._alignments:
            self._alignments[key] = {name: self._alone(name, *outer) for name in (CLICKS, *self.content)}
        return self._alignments[key]

    def aligned(self, *outer: int) -> dict[str, float]:
        """The alignments of those who are heard: clicks, and modalities that are above chance by `SURE` errors."""
        if not self.content:
            return {CLICKS: 1.0}
        found = self.alignments(*outer)
        heard = [name for name, (value, error) in found.items() if name == CLICKS or value - 0.5 > SURE * error]
        return {name: min(max(0.5, found[name].value), MOST) for name in heard}

    def _alone(self, name: str, *outer: int) -> Estimate:
        """By least squares of 1/2 - p on b; the error allows for edges of a user that depend on each other."""
        edges = self.without(*outer)
        p = self._cross_fitted(outer, lambda *folds: [self._witness(name, *folds)], "user")
        believed = np.ones(len(p)) if name == CLICKS else self.content[name].believed_I[edges.items]
        known = np.isfinite(p) & (believed > 0)
        believed, better, users = believed[known], 0.5 - p[known], edges.users[known]
        weight = float(believed @ believed)
        if not weight:
            return Estimate(0.5, 0.0)
        above = float(believed @ better) / weight
        of_user = np.bincount(users, weights=believed * (better - above * believed))
        return Estimate(0.5 + above, float(np.sqrt(of_user @ of_user)) / weight)

    def _witness(self, name: str, *folds: int) -> Witness:
        """Users and items as clicks or a modality see them without these folds."""
        if name == CLICKS:
            prior = self.prior(*folds)
            return Witness(prior.user_UD, prior.item_ID)
        return Witness(profiles(self.without(*folds), self.content[name]), self.content[name].rows_IC)

    def witnesses(self, aligned: Mapping[str, float], *folds: int) -> list[Witness]:
        """Those who are heard, without these folds, and how far they are believed."""
        return [
            self._witness(name, *folds)._replace(
                alignment=alignment, right_R=None if name == CLICKS else self.content[name].believed_I
            )
            for name, alignment in aligned.items()
        ]

    def user_p(self, pairs: Edges, witnesses: Sequence[Witness]) -> Floats:
        """p-values of pairs among the items drawn for their users, (E,)."""
        return p_values(pairs.users, pairs.items, witnesses, self.items_drawn)

    def item_p(self, pairs: Edges, witnesses: Sequence[Witness]) -> Floats:
        """p-values of pairs among the users drawn for their items, (E,)."""
        return p_values(pairs.items, pairs.users, [one.turned for one in witnesses], self.users_drawn)

    def predicted(self, held: Edges, graph: Edges) -> float:
        """Mean of 1 - p of left-out pairs by the prior of a graph; one of which it knows nothing counts 1/2."""
        prior = self.fit(graph)
        p = self.user_p(held, [Witness(prior.user_UD, prior.item_ID)])
        return float(np.where(np.isfinite(p), 1 - p, 0.5).mean())

    def judged(self, *outer: int) -> Judged:
        """The graph without the outer folds, each edge judged by witnesses that saw neither its own fold nor these.

        Nothing but the trust in features, one number for an item, was learned from all edges.
        """
        aligned = self.aligned(*outer)
        user_p, item_p = (
            self._cross_fitted(outer, functools.partial(self.witnesses, aligned), side) for side in ("user", "item")
        )
        return self.as_judged(user_p, item_p, *outer)

    def as_judged(self, user_p: Floats, item_p: Floats, *outer: int) -> Judged:
        """The graph without the outer folds, with p-values that are already known."""
        aligned, edges = self.aligned(*outer), self.without(*outer)

        def heard(pairs: Edges, strength: Floats) -> Floats:
            count, sure = np.full(len(pairs), len(pairs)), np.ones(len(pairs))
            total = evidence(*places(strength), count, aligned[CLICKS], sure)
            for name, value in aligned.items():
                if name != CLICKS:
                    p = self.user_p(pairs, [self._witness(name, *outer)])
                    believed = np.where(np.isfinite(p), self.content[name].believed_I[pairs.items], 0.0)
                    above = np.rint(np.nan_to_num(p, nan=1.0) * (DRAWN + 1)).astype(np.int64) - 1
                    total += evidence(above, np.zeros_like(above), np.full_like(above, DRAWN + 1), value, believed)
            return total

        speaks = heard if len(aligned) > 1 else None
        return Judged(edges, user_p, item_p, lambda: self.prior(*outer), lambda: self.fold_priors(*outer), speaks)

    def _cross_fitted(self, outer: tuple[int, ...], witnesses: Callable[..., list[Witness]], side: Side) -> Floats:
        edges = self.without(*outer)
        label = self.label[~np.isin(self.label, outer)]
        judge, p = self.user_p if side == "user" else self.item_p, np.full(len(edges), np.nan)
        for fold in set(range(FOLDS)) - set(outer):
            mine = np.flatnonzero(label == fold)
            p[mine] = judge(edges.subset(mine), witnesses(fold, *outer))
        return p

    def fold_priors(self, *outer: int) -> list[Prior]:
        """The priors without each fold and the outer ones."""
        return [self.prior(fold, *outer) for fold in range(FOLDS) if fold not in outer]

    def alignment_of(self, pairs: Edges) -> Estimate:
        """The alignment of pairs that are no training edges, by the mean p over the witnesses without one fold."""
        aligned = self.aligned()
        p = np.mean([self.user_p(pairs, self.witnesses(aligned, fold)) for fold in range(FOLDS)], axis=0)
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
