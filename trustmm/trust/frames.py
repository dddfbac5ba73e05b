"""P(the frame is not this item's), for every frame of a modality with a time axis, without a label.

The estimator is that of `trustmm.trust.mismatch`, of frames in place of items: a shuffled pair is an item with a frame
of a stranger. One more view is possible, the agreement of a frame with the item's other frames; and where another
modality has frames of the same times, it predicts a frame from that moment. Frames of one item depend on each other, so
folds and halves are of items, and the bootstrap draws items.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from trustmm.dataset.data import TrainData
from trustmm.dataset.frames import Frames
from trustmm.graph.edges import IntArray
from trustmm.seeding import stream
from trustmm.trust.mismatch import ROUNDS, Trust, ViewName, posterior
from trustmm.trust.neighbours import ClickNeighbours, click_neighbours
from trustmm.trust.pairs import LEAST_ITEMS, Pairs, make_pairs, shown
from trustmm.trust.storey import Estimate
from trustmm.trust.views import View, anchor_view, cross_view, principal_coordinates, unit

Rows = NDArray[np.float32]
Floats = NDArray[np.float64]
# Shapes: I items, N frames of all items, n judged frames (of items with training edges), j judged items, S shuffles.


def judge_frames(
    name: str,
    train: TrainData,
    anchors_ID: Rows,
    *,
    views: Sequence[ViewName],
    k: int,
    seed: int,
    device: torch.device | str = "cpu",
) -> Trust:
    """The trust in every frame of a modality, arrays (N,).

    Args:
        name: of the modality.
        train: observed data; items without training edges are not judged and never learned from.
        anchors_ID: collaborative embeddings of the items.
        views: as in `judge`, and `frames`: the agreement of a frame with the mean of its item's others. `structure` is
            that of the frame and the mean over the frames of the item's neighbours in clicks.
        k: neighbours in clicks.
        seed: of folds, shuffles and the bootstrap.
        device: where neighbours are searched.
    """
    frames, edges = train.frames[name], train.propagation
    edges = edges.subset(np.flatnonzero(frames.lengths[edges.items] > 0))
    if np.count_nonzero(edges.item_degree) < LEAST_ITEMS:
        return Trust(np.full(len(frames.items), np.nan), Estimate(np.nan, np.nan), {})
    by_item = make_pairs(edges, stream(seed, "trust", "pairs", name))
    place = np.full(train.num_items, -1)
    place[by_item.items] = np.arange(len(by_item.items))
    judged = np.flatnonzero(place[frames.items] >= 0)
    owner = place[frames.items[judged]]
    pairs = frame_pairs(by_item, owner, stream(seed, "trust", "strangers", name))
    case = _Case(
        pairs,
        owner,
        anchors_ID[by_item.items][owner],
        click_neighbours(anchors_ID[by_item.items], k=k, group=by_item.fold, device=device),
        principal_coordinates(frames.rows_NX[judged], stream(seed, "trust", "coordinates", name)),
        {
            other: principal_coordinates(rows, stream(seed, "trust", "coordinates", other))
            for other, rows in sorted(moments(name, train, judged).items())
        }
        if "modalities" in views
        else {},
        views,
    )
    degree = np.log(edges.item_degree[by_item.items])[owner] if "degree" in views else None
    weight = np.ones(len(judged))
    for _ in range(ROUNDS):
        found = posterior(pairs, case.agreements(weight), degree, stream(seed, "trust", "storey", name), group=owner)
        weight = 1 - found.probability
    return _everywhere(found, judged, len(frames.items))


def frame_pairs(by_item: Pairs, owner: IntArray, rng: np.random.Generator) -> Pairs:
    """Observed and shuffled pairs of frames: those of their items, a random frame for each stranger.

    Args:
        by_item: pairs of items.
        owner: the place of each frame's item in these, (n,).
        rng: of the draw.
    """
    order = np.argsort(owner, kind="stable")
    count = np.bincount(owner, minlength=len(by_item.items))
    start = np.cumsum(count) - count
    strangers = by_item.stranger[:, owner]
    drawn = np.floor(rng.random(strangers.shape) * count[strangers]).astype(np.int64)
    stranger = order[start[strangers] + drawn]
    return Pairs(by_item.items[owner], by_item.fold[owner], by_item.half[owner], stranger)


def moments(name: str, train: TrainData, judged: IntArray) -> dict[str, Rows]:
    """What each other modality shows at the time of each frame: its frame there, or the item's feature without any."""
    mine, found = train.frames[name], {}
    for other, rows in train.features.items():
        frames = train.frames.get(other)
        if frames is not None and np.array_equal(frames.offsets, mine.offsets):
            found[other] = frames.rows_NX[judged]
        elif other != name:
            found[other] = rows[mine.items[judged]]
    return {other: rows for other, rows in found.items() if other != name}


@dataclass(frozen=True, eq=False)
class _Case:
    """What all rounds share."""

    pairs: Pairs
    owner: IntArray
    anchors: Rows
    neighbours: ClickNeighbours
    coordinates: Rows
    others: Mapping[str, Rows]
    views: Sequence[ViewName]

    def agreements(self, weight: Floats) -> dict[str, Floats]:
        """Views fitted on frames as far as `weight` believes them, (S + 1, n) each."""
        made: dict[str, View] = {}
        sums, total = self._sums(weight)
        mean = (weight @ self.coordinates / max(weight.sum(), 1e-12)).astype(np.float32)
        target = unit(self.coordinates - mean)
        if "anchor" in self.views:
            made["anchor"] = anchor_view(self.pairs, self.coordinates, self.anchors, weight)
        if "structure" in self.views:
            share = total / np.maximum(np.bincount(self.owner), 1)
            about = self.neighbours.mean(_divided(sums, total) - mean * (total > 0)[:, None], share)
            made["structure"] = View(unit(about)[self.owner], target)
        if "frames" in self.views:
            rest = total[self.owner] - weight
            others = sums[self.owner] - self.coordinates * weight[:, None].astype(np.float32)
            made["frames"] = View(unit(_divided(others, rest) - mean * (rest > 0)[:, None]), target)
        for other, rows in self.others.items():
            made[other] = cross_view(self.pairs, rows, self.coordinates, weight)
        return {view: shown(self.pairs, *one) for view, one in made.items()}

    def _sums(self, weight: Floats) -> tuple[Rows, Floats]:
        """Weighted sums of each item's frames (j, C), and of their weights (j,)."""
        count = len(self.neighbours.index)
        sums = np.zeros((count, self.coordinates.shape[1]), dtype=np.float32)
        np.add.at(sums, self.owner, self.coordinates * weight[:, None].astype(np.float32))
        return sums, np.bincount(self.owner, weights=weight, minlength=count).astype(np.float64)


def _divided(sums: Rows, total: Floats) -> Rows:
    return (sums / np.where(total > 1e-9, total, np.inf)[:, None]).astype(np.float32)


def _everywhere(found: Trust, judged: IntArray, count: int) -> Trust:
    """From judged frames to all; one that is not judged has the prior share."""

    def spread(values: Floats, otherwise: float) -> Floats:
        result = np.full(count, otherwise)
        result[judged] = values
        return result

    views = {view: spread(values, np.nan) for view, values in found.views.items()}
    return Trust(spread(found.probability, found.eta.value), found.eta, views)


def trusted_mean(frames: Frames, weight_N: Floats, plain_IX: Rows) -> Rows:
    """The mean of each item's frames, each as far as it is believed, (I, X).

    Args:
        frames: of the modality.
        weight_N: how far each frame is believed, from 0 to 1.
        plain_IX: the plain mean. An item keeps it bit for bit if all of its frames are believed wholly, or none at all.
    """
    believed = np.bincount(frames.items, weights=weight_N, minlength=len(plain_IX))
    changed = (believed > 1e-9) & (believed < frames.lengths)
    result = plain_IX.copy()
    result[changed] = frames.pooled(weight_N)[changed]
    return result
