"""Mend features as far as they are doubted: what every repair that leaves the others alone has in common."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from trustmm.dataset.data import TrainData
from trustmm.options.checks import Count, Share
from trustmm.rectifier.base import Rectifier
from trustmm.rectifier.rematch import rematched
from trustmm.trust.impute import neighbour_mean, ridge_prediction
from trustmm.trust.mismatch import Trust
from trustmm.trust.neighbours import ClickNeighbours, click_neighbours

Rows = NDArray[np.float32]
Floats = NDArray[np.float64]
# Shapes: I items, n items with training edges, X feature width.


@dataclass(frozen=True, eq=False)
class Mend:
    """What was done to one modality."""

    trust: Trust | None
    """What the repair believes; None where it judges nothing."""
    weight: Floats
    """Share of each feature that was replaced because it is doubted, (I,)."""
    choosable: NDArray[np.bool_]
    """Items that others may choose in item graphs, (I,)."""
    frames: Trust | None = None
    """What it believes of each frame, (N,), where single frames are judged."""


@dataclass(frozen=True, kw_only=True)
class Mending(Rectifier):
    """x' = (1 - w) x + w m, then (1 - smooth) x' + smooth n; n is the believed mean of the neighbours in clicks.

    Items without training edges, and modalities in which nothing can be believed, stay as they are, bit for bit; so
    does every feature with w = 0 where `smooth` is 0.
    """

    impute: Literal["ridge", "neighbours", "none"]
    """What m is: a ridge regression on the anchor and the other modalities, the believed mean of the neighbours in
    clicks, or nothing: features stay, but for `smooth`."""
    weight: Literal["soft", "gate"]
    """What w is: the probability g that the feature is not this item's, or 1 where g is above `threshold`."""
    threshold: Share
    """From which g on an item is a suspect."""
    mask: bool
    """Whether suspects may not be chosen in item graphs; they still choose."""
    rematch: bool
    """Whether a suspect gets the rows of other suspects, by transport to what m expects, in place of m."""
    smooth: Share
    """How far every item moves to n, believed or not."""
    k: Count
    """Neighbours in clicks."""

    def mend(
        self, train: TrainData, anchors_ID: Rows, trust: Mapping[str, Trust], *, seed: int, device: torch.device
    ) -> tuple[TrainData, dict[str, Mend]]:
        """Mended data, and what was done to each modality.

        Args:
            train: data with observed features, left as they are.
            anchors_ID: collaborative embeddings of the items.
            trust: in each modality.
            seed: of the regression's coordinates.
            device: where neighbours are searched.
        """
        warm = np.flatnonzero(train.propagation.item_degree)
        idle = np.zeros(train.num_items)
        mends = {name: Mend(trust[name], idle, idle == 0) for name in train.features}
        usable = [name for name in train.features if not trust[name].hopeless]
        if not usable or len(warm) < 2 or (self.impute == "none" and not self.smooth and not self.mask):
            return train, mends
        neighbours = click_neighbours(anchors_ID[warm], k=self.k, device=device)
        features, choosable = dict(train.features), dict(train.choosable)
        for name in usable:
            evidence = _Evidence(name, train, anchors_ID, warm, neighbours, trust, seed)
            mends[name] = self._weights(trust[name], warm)
            features[name] = self._mended(evidence, mends[name].weight[warm])
            if self.mask:
                choosable[name] = mends[name].choosable
        return replace(train, features=features, choosable=choosable), mends

    def _weights(self, trust: Trust, warm: NDArray[np.int64]) -> Mend:
        judged, suspect = np.zeros(len(trust.probability)), np.zeros(len(trust.probability), dtype=bool)
        suspect[warm] = trust.probability[warm] > self.threshold
        if self.impute != "none":
            judged[warm] = trust.probability[warm] if self.weight == "soft" else suspect[warm]
        return Mend(trust, judged, ~suspect if self.mask else np.ones_like(suspect))

    def _mended(self, evidence: "_Evidence", weight: Floats) -> Rows:
        """The whole feature matrix, (I, X); the observed one itself where nothing changes."""
        observed, warm = evidence.train.features[evidence.name], evidence.warm
        changed = np.flatnonzero(weight > 0) if not self.smooth else np.arange(len(warm))
        if not len(changed):
            return observed
        rows = observed[warm]
        mean = neighbour_mean(rows, evidence.neighbours, evidence.belief)
        expected = evidence.imputed(self.impute, rows, mean)
        suspects = np.flatnonzero(evidence.trust[evidence.name].probability[warm] > self.threshold)
        if self.rematch and len(suspects) > 1:
            expected[suspects] = rematched(expected[suspects], rows[suspects])
        result = observed.copy()
        mixed = _towards(rows[changed], expected[changed], weight[changed])
        result[warm[changed]] = _towards(mixed, mean[changed], np.full(len(changed), self.smooth))
        return result


@dataclass(frozen=True, eq=False)
class _Evidence:
    """What is known of the rows of one modality; neighbours are places in `warm`."""

    name: str
    train: TrainData
    anchors_ID: Rows
    warm: NDArray[np.int64]
    neighbours: ClickNeighbours
    trust: Mapping[str, Trust]
    seed: int

    @property
    def belief(self) -> Floats:
        """1 - g, (n,)."""
        return 1 - self.trust[self.name].probability[self.warm]

    def imputed(self, how: str, rows: Rows, mean: Rows) -> Rows:
        """E[row | evidence], (n, X)."""
        if how != "ridge":
            return mean.copy()
        others = [
            (self.train.features[other][self.warm], 1 - self.trust[other].probability[self.warm])
            for other in sorted(self.train.features)
            if other != self.name and not self.trust[other].hopeless
        ]
        return ridge_prediction(rows, self.anchors_ID[self.warm], others, self.belief, self.seed)


def _towards(rows: Rows, goal: Rows, share: Floats) -> Rows:
    """(1 - share) rows + share goal; the row where there is no goal (a zero row)."""
    part = np.where(goal.any(axis=1), share, 0.0)[:, None].astype(np.float32)
    return (1 - part) * rows + part * goal
