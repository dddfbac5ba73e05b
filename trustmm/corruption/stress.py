"""The stress test: wrong features of some items (the paper: permuted), training edges deleted or added (Sec. 3).

Every kind and modality draws from its own named stream. For one seed the damaged sets of growing ratios are nested,
so curves over a ratio are paired; at ratio 0 the data are the input itself.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from trustmm.corruption.kinds import REPLACEMENTS, Kind, Rows, item_order
from trustmm.dataset.data import Features, TrainData
from trustmm.graph.edges import Edges, IntArray
from trustmm.options.checks import Seed, Share, Within
from trustmm.seeding import stream

DRAW = 1 << 16
"""Candidate pairs per draw; fixed, so that a longer list of added pairs starts like a shorter one."""
ENUMERATE = 1 << 20
"""Up to this many possible pairs the free ones are listed and shuffled, which also works when few are free."""


@dataclass(frozen=True, eq=False)
class Damage:
    """What was injected. For diagnostics only: no method may see it, apart from the ratio `eta` (see `rho`)."""

    eta: Mapping[str, float]
    """Share of items with damaged features, by modality."""
    touched: Mapping[str, NDArray[np.bool_]]
    """The chosen items of each modality, (I,), the same for every kind; a moved row may come back to its item."""
    added: Edges
    """Spurious training pairs."""
    deleted: Edges
    """Lost training pairs."""


@dataclass(frozen=True, kw_only=True)
class StressTest:
    """Feature damage (Eq. 2 and its controls) and interaction noise.

    Raises: ValueError when called with data that lack a modality named in `eta_of`, or free pairs to add.
    """

    kind: Kind
    """What the chosen items get instead of their features: `permute` is Eq. 2, the others are controls."""
    eta: Share
    """Share of items whose features are damaged, in every modality."""
    eta_of: Mapping[str, Share]
    """The same for single modalities, by name."""
    joint: bool
    """Whether the same items are damaged in all modalities, instead of others in each."""
    eta_e: Annotated[float, Within("(-1, 1]")]
    """Below 0: share of training edges deleted; above: pairs added, as a share of the training edges."""
    seed: Seed
    """Of all draws."""

    def identity(self) -> Mapping[str, object]:
        """What determines the result.

        Without damage the seed does not, nor the kind without damaged features, nor a modality set to `eta` again. The
        paper's kind is not written down, so that a new kind never gives its jobs another identity.
        """
        eta_of = {name: share for name, share in self.eta_of.items() if share != self.eta}
        features_clean = not self.eta and not eta_of
        seed = None if features_clean and not self.eta_e else self.seed
        kind = {} if features_clean or self.kind == "permute" else {"kind": self.kind}
        joint = {} if features_clean or not self.joint else {"joint": True}
        return {"eta": self.eta, "eta_of": eta_of, "eta_e": self.eta_e, "seed": seed, **kind, **joint}

    def __call__(self, train: TrainData, *, observed: Edges) -> tuple[TrainData, Damage]:
        """Damaged copy of `train`, and what was done.

        Args:
            train: clean training data, left as it is.
            observed: pairs of all splits; added pairs are drawn from the others.
        """
        eta = self.eta_by_modality(train.features)
        features, touched = dict(train.features), {}
        leader = min(eta, default="")
        order = self._order(train.features[leader], "joint") if self.joint and any(eta.values()) else None
        for name, share in eta.items():
            rows = train.features[name]
            features[name], touched[name] = damage_rows(rows, share, self.kind, self.seed, name, order=order)
        edges, added, deleted = self._edges(train.supervision, observed)
        damaged = replace(train, supervision=edges, propagation=edges, features=features)
        return damaged, Damage(eta, touched, added, deleted)

    def _order(self, clean_ID: Rows, name: str) -> IntArray:
        return item_order(clean_ID, self.kind, stream(self.seed, "corruption", "features", name))

    def eta_by_modality(self, features: Features) -> dict[str, float]:
        """Share of damaged items of every modality; ValueError if `eta_of` names one that is not there."""
        for name in self.eta_of:
            if name not in features:
                raise ValueError(f"corruption.eta_of.{name}: the dataset has no such modality, only {sorted(features)}")
        return {name: float(self.eta_of.get(name, self.eta)) for name in sorted(features)}

    def _edges(self, edges: Edges, observed: Edges) -> tuple[Edges, Edges, Edges]:
        none = Edges.from_keys(np.empty(0, dtype=np.int64), edges.num_users, edges.num_items)
        count = exact_share(abs(self.eta_e), len(edges))
        if not count:
            return edges, none, none
        if self.eta_e < 0:
            order = stream(self.seed, "corruption", "delete").permutation(len(edges))
            kept, lost = (
                Edges.from_keys(edges.keys[np.sort(part)], edges.num_users, edges.num_items)
                for part in (order[count:], order[:count])
            )
            return kept, none, lost
        added = free_pairs(observed, count, stream(self.seed, "corruption", "add"))
        return edges.union(added), added, none


def exact_share(share: float, count: int) -> int:
    """floor(share * count) of the decimal number that was typed: 0.29 of 100 is 29, not 28."""
    return math.floor(Fraction(repr(share)) * count)


def damage_rows(
    clean_ID: Rows, share: float, kind: Kind, seed: int, name: str, *, order: IntArray | None = None
) -> tuple[Rows, NDArray[np.bool_]]:
    """Replace floor(share * I) rows, uniformly chosen and the same for every kind but `shift`.

    Args:
        clean_ID: clean rows.
        share: in [0, 1].
        kind: what the chosen rows become.
        seed: of the draws.
        name: of the modality.
        order: all items, the first are chosen; None for the modality's own draw.

    Returns: a new matrix (the input itself if nothing is chosen), and the chosen rows as a mask (I,).
    """
    count = exact_share(share, len(clean_ID))
    touched = np.zeros(len(clean_ID), dtype=bool)
    if not count:
        return clean_ID, touched
    if order is None:
        order = item_order(clean_ID, kind, stream(seed, "corruption", "features", name))
    chosen = order[:count]
    rng = stream(seed, "corruption", "order" if kind == "permute" else kind, name)
    damaged = clean_ID.copy()
    damaged[chosen] = REPLACEMENTS[kind](clean_ID, chosen, rng)
    touched[chosen] = True
    return damaged, touched


def free_pairs(observed: Edges, count: int, rng: np.random.Generator) -> Edges:
    """`count` distinct pairs outside `observed`, uniform; more pairs from an equal stream contain fewer.

    Raises: ValueError if there are not so many.
    """
    possible = observed.num_users * observed.num_items
    if count > possible - len(observed):
        raise ValueError(
            f"corruption.eta_e asks for {count} new pairs, but only {possible - len(observed)} are unobserved"
        )
    draw = _shuffled_free_keys if possible <= ENUMERATE else _drawn_free_keys
    return Edges.from_keys(np.sort(draw(observed, count, rng)), observed.num_users, observed.num_items)


def _shuffled_free_keys(observed: Edges, count: int, rng: np.random.Generator) -> IntArray:
    free = np.setdiff1d(np.arange(observed.num_users * observed.num_items), observed.keys, assume_unique=True)
    return rng.permutation(free)[:count]


def _drawn_free_keys(observed: Edges, count: int, rng: np.random.Generator) -> IntArray:
    keys = np.empty(0, dtype=np.int64)
    while len(keys) < count:
        drawn = rng.integers(0, observed.num_users * observed.num_items, size=DRAW)
        keys = np.concatenate([keys, drawn[~observed.contains(drawn)]])
        _, first = np.unique(keys, return_index=True)
        keys = keys[np.sort(first)]
    return keys[:count]
