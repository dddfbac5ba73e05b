"""The stress test: wrong features of some items (the paper: permuted), training edges deleted or added (Sec. 3).

Every kind and modality draws from its own named stream. For one seed the damaged sets of growing ratios are nested,
so curves over a ratio are paired; at ratio 0 the data are the input itself.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, get_args

import numpy as np
from numpy.typing import NDArray

from trustmm.corruption.base import Corruption, Damage, no_damage
from trustmm.corruption.clicks import ClickKind, click_noise
from trustmm.corruption.frames import FrameKind, damage_frames
from trustmm.corruption.kinds import MOVES, Kind, Rows, item_order, replacement
from trustmm.dataset.data import Dataset, TrainData
from trustmm.dataset.frames import Frames
from trustmm.exact import exact_share
from trustmm.graph.edges import Edges, IntArray
from trustmm.options.checks import Function, Seed, Share, Within
from trustmm.seeding import stream


@dataclass(frozen=True, kw_only=True)
class StressTest(Corruption):
    """Feature damage (Eq. 2 and its controls) and interaction noise.

    Raises: ValueError when called with data that lack a modality named in `eta_of`, or free pairs to add.
    """

    kind: Kind | FrameKind | Function
    """What the chosen items get instead of their features: `permute` is Eq. 2, the others are controls; `frames` and
    `rotate` damage the modalities with a time axis, and no other."""
    eta: Share
    """Share of items whose features are damaged, in every modality."""
    eta_of: Mapping[str, Share]
    """The same for single modalities, by name."""
    frame_share: Share
    """Share of a chosen item's frames that come from other items, for kind `frames`."""
    joint: bool
    """Whether the same items are damaged in all modalities, instead of others in each."""
    eta_e: Annotated[float, Within("(-1, 1]")]
    """Below 0: share of training edges deleted; above: pairs added, as a share of the training edges."""
    edge_kind: ClickKind
    """Which pairs are added, see `click_noise`: `uniform` is the paper's."""
    seed: Seed
    """Of all draws."""

    def __post_init__(self) -> None:
        if not self.in_time:
            replacement(self.kind)
        if self.eta_e < 0 and self.edge_kind != "uniform":
            raise ValueError(
                f"corruption.edge_kind={self.edge_kind} adds pairs, but corruption.eta_e={self.eta_e:g} deletes edges; "
                "use edge_kind=uniform, or eta_e above 0"
            )

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
        frames = {"frame_share": self.frame_share} if kind and self.kind == "frames" else {}
        clicks = {"edge_kind": self.edge_kind} if self.eta_e and self.edge_kind != "uniform" else {}
        more = {**kind, **joint, **frames, **clicks}
        return {"eta": self.eta, "eta_of": eta_of, "eta_e": self.eta_e, "seed": seed, **more}

    def settled(self, modalities: Sequence[str]) -> "StressTest":
        """The same damage to these modalities as it is written down: `eta` the least share, `eta_of` what exceeds it.

        So one damage has one identity, however it was typed. A name that is not among the modalities stays.
        """
        if not self.eta_of or not modalities:
            return self
        share = {name: self.eta_of.get(name, self.eta) for name in modalities}
        eta = min(share.values())
        return replace(self, eta=eta, eta_of={**self.eta_of, **share})

    @property
    def in_time(self) -> bool:
        """Whether frames are damaged, rather than items."""
        return self.kind in get_args(FrameKind)

    @property
    def needs_features(self) -> bool:
        """See the base class."""
        return bool(self.eta)

    def words(self) -> list[str]:
        """See the base class: eta if any, what differs from it, a kind that is not the paper's, noise."""
        parts = [f"eta{self.eta:g}"] if self.eta else []
        parts += [f"{name}{eta:g}" for name, eta in sorted(self.eta_of.items()) if eta]
        parts += [self.kind] if self.kind != "permute" else []
        noise = [f"etae{self.eta_e:g}", *([self.edge_kind] if self.edge_kind != "uniform" else [])]
        return parts + (noise if self.eta_e else [])

    def tags(self) -> Mapping[str, object]:
        """See the base class."""
        ratios = {"eta": self.eta, "eta_e": self.eta_e}
        kinds = {"corruption_kind": self.kind, "corruption_edge_kind": self.edge_kind}
        return {**ratios, "corruption_seed": self.seed, **kinds}

    def check_fit(self, data: Dataset) -> None:
        """See the base class."""
        if self.in_time and not data.frames:
            raise ValueError(
                f"corruption.kind={self.kind} damages features with a time axis, and dataset {data.name!r} has none; "
                "see docs/data.md, or try dataset=synthetic 'dataset.frames={visual: 8}'"
            )
        self.eta_by_modality(data.frames if self.in_time else data.features)

    def __call__(self, train: TrainData, *, observed: Edges) -> tuple[TrainData, Damage]:
        """Damaged copy of `train`, and what was done.

        Args:
            train: clean training data, left as it is.
            observed: pairs of all splits; added pairs are drawn from the others.
        """
        eta = self.eta_by_modality(train.frames if self.in_time else train.features)
        leader = min(eta, default="")
        order = self._order(train.features[leader], "joint") if self.joint and any(eta.values()) else None
        done = {name: self._damaged(train, name, share, order) for name, share in eta.items()}
        features = {**train.features, **{name: one.rows_IX for name, one in done.items()}}
        clips = {name: one.frames for name, one in done.items() if one.frames is not None}
        wrong = {name: one.wrong for name, one in done.items() if one.wrong is not None}
        damage = no_damage(train)
        touched = {**damage.touched, **{name: one.touched for name, one in done.items()}}
        clean = train.supervision
        added, deleted = click_noise(clean, observed, kind=self.edge_kind, eta_e=self.eta_e, seed=self.seed)
        noise = len(added) or len(deleted)
        edges = clean.without(deleted).union(added) if noise else clean
        frames = {**train.frames, **clips}
        damaged = replace(train, supervision=edges, propagation=edges, features=features, frames=frames)
        return damaged, Damage({**damage.eta, **eta}, touched, added, deleted, wrong)

    def _damaged(self, train: TrainData, name: str, share: float, order: IntArray | None) -> "_Damaged":
        clean, frames = train.features[name], train.frames.get(name)
        if frames is None:
            return _Damaged(*damage_rows(clean, share, self.kind, self.seed, name, order=order))
        chosen = chosen_rows(clean, share, self.kind, self.seed, name, order)
        rng = kind_stream(self.kind, self.seed, name)
        touched = np.zeros(len(clean), dtype=bool)
        touched[chosen] = True
        if not len(chosen):
            return _Damaged(clean, touched, frames, touched[frames.items])
        if self.in_time:
            frames, wrong = damage_frames(frames, chosen, self.kind, self.frame_share, rng)
        elif self.kind in MOVES:
            owners = np.arange(len(clean))
            owners[chosen] = MOVES[self.kind](clean, chosen, rng)
            frames = frames.of(owners)
            wrong = touched[frames.items]
        else:
            frames = frames.filled(chosen, replacement(self.kind)(clean, chosen, rng))
            wrong = touched[frames.items]
        rows = clean.copy()
        rows[chosen] = frames.pooled()[chosen]
        return _Damaged(rows, touched, frames, wrong)

    def _order(self, clean_ID: Rows, name: str) -> IntArray:
        return item_order(clean_ID, self.kind, stream(self.seed, "corruption", "features", name))

    def eta_by_modality(self, features: Collection[str]) -> dict[str, float]:
        """Share of damaged items of every modality; ValueError if `eta_of` names one that is not there."""
        for name in self.eta_of:
            if name not in features:
                raise ValueError(f"corruption.eta_of.{name}: the dataset has no such modality, only {sorted(features)}")
        return {name: float(self.eta_of.get(name, self.eta)) for name in sorted(features)}


@dataclass(frozen=True, eq=False)
class _Damaged:
    """One modality."""

    rows_IX: Rows
    touched: NDArray[np.bool_]
    frames: Frames | None = None
    wrong: NDArray[np.bool_] | None = None


def damage_rows(
    clean_ID: Rows, share: float, kind: str, seed: int, name: str, *, order: IntArray | None = None
) -> tuple[Rows, NDArray[np.bool_]]:
    """Replace the chosen rows.

    Args:
        clean_ID: clean rows.
        share: in [0, 1].
        kind: what the chosen rows become.
        seed: of the draws.
        name: of the modality.
        order: see `chosen_rows`.

    Returns: a new matrix (the input itself if nothing is chosen), and the chosen rows as a mask (I,).
    """
    chosen = chosen_rows(clean_ID, share, kind, seed, name, order)
    touched = np.zeros(len(clean_ID), dtype=bool)
    if not len(chosen):
        return clean_ID, touched
    damaged = clean_ID.copy()
    damaged[chosen] = replacement(kind)(clean_ID, chosen, kind_stream(kind, seed, name))
    touched[chosen] = True
    return damaged, touched


def chosen_rows(clean_ID: Rows, share: float, kind: str, seed: int, name: str, order: IntArray | None) -> IntArray:
    """floor(share * I) rows, uniformly chosen and the same for every kind but `shift`.

    Args:
        clean_ID: clean rows.
        share: in [0, 1].
        kind: of damage.
        seed: of the draws.
        name: of the modality.
        order: all items, the first are chosen; None for the modality's own draw.
    """
    count = exact_share(share, len(clean_ID))
    if count and order is None:
        order = item_order(clean_ID, kind, stream(seed, "corruption", "features", name))
    return np.empty(0, dtype=np.int64) if order is None else order[:count]


def kind_stream(kind: str, seed: int, name: str) -> np.random.Generator:
    """What a kind draws from."""
    return stream(seed, "corruption", "order" if kind == "permute" else kind, name)
