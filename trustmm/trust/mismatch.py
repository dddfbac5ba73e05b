"""P(the feature is not this item's), for every item and modality, without a label.

A shuffled pair (an item, a stranger's feature) is a mismatched pair, so the null f0 of any score is known. A classifier
of observed against shuffled pairs over views of their agreement gives f/f0 without a density; p-values of that ratio
against its own null give the share of mismatched items (Storey) and each item's probability (Efron's local false
discovery rate).
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from trustmm.dataset.data import Features
from trustmm.graph.edges import Edges, IntArray
from trustmm.seeding import stream
from trustmm.trust.classifier import log_ratio
from trustmm.trust.density import local_fdr, p_values
from trustmm.trust.neighbours import ClickNeighbours, click_neighbours
from trustmm.trust.pairs import LEAST_ITEMS, SHUFFLES, Pairs, make_pairs, shown
from trustmm.trust.storey import Estimate, storey
from trustmm.trust.views import anchor_view, cross_view, principal_coordinates, structure_view

log = logging.getLogger(__name__)
ViewName = Literal["anchor", "structure", "modalities", "degree", "frames"]
Floats = NDArray[np.float64]
# Shapes: I items, n judged items (those with training edges), S shuffles.
ROUNDS = 2
HOPELESS = 0.9
"""Share of mismatched items from which too little right content is left to learn a repair from."""
SURE = 3.0
"""Standard errors by which observed pairs must differ from shuffled ones."""


@dataclass(frozen=True, eq=False)
class Trust:
    """What is known of one modality."""

    probability: Floats
    """P(the feature is not this item's), (I,); an item without training edges keeps the prior `eta`."""
    eta: Estimate
    """Share of mismatched items among those with training edges; 1 where nothing can be believed, NaN where nothing can
    be said."""
    views: Mapping[str, Floats]
    """Agreement of each item's feature with what else is known of it, in [-1, 1], (I,); NaN without training edges."""

    @property
    def hopeless(self) -> bool:
        """Whether there is nothing that a repair could be learned from."""
        return not self.eta.value < HOPELESS


def judge(
    features: Features,
    edges: Edges,
    anchors_ID: NDArray[np.float32],
    *,
    views: Sequence[ViewName],
    k: int,
    seed: int,
    device: torch.device | str = "cpu",
) -> dict[str, Trust]:
    """The trust in every modality; relabelling the items relabels the result.

    Args:
        features: one matrix (I, X) per modality, as observed.
        edges: training edges; items without are not judged and never learned from.
        anchors_ID: collaborative embeddings of the items, trained without the features.
        views: what is looked at. `anchor`: the cosine of the anchor and the feature's projection; `structure`: that of
            the feature and the mean over the item's neighbours in clicks; `modalities`: that of the feature and its
            prediction from each other modality, beside that one's own trust; `degree`: the logarithm of an item's
            training edges. `frames` says something of frames only, see `judge_frames`.
        k: neighbours in clicks.
        seed: of folds and shuffles.
        device: where neighbours are searched.
    """
    if np.count_nonzero(edges.item_degree) < LEAST_ITEMS:
        unknown = np.full(edges.num_items, np.nan)
        return {name: Trust(unknown, Estimate(np.nan, np.nan), {}) for name in features}
    pairs = make_pairs(edges, stream(seed, "trust", "pairs"))
    anchors = anchors_ID[pairs.items]
    neighbours = click_neighbours(anchors, k=k, group=pairs.fold, device=device)
    coordinates = {
        name: principal_coordinates(matrix[pairs.items], stream(seed, "trust", "coordinates", name))
        for name, matrix in sorted(features.items())
    }
    degree = np.log(edges.item_degree[pairs.items]) if "degree" in views else None
    case = _Case(pairs, anchors, neighbours, coordinates, degree, views, seed)
    weight = {name: np.ones(len(pairs.items)) for name in coordinates}
    for _ in range(ROUNDS):
        found = case.round(weight)
        weight = {name: 1 - one.probability for name, one in found.items()}
    return {name: _spread(one, pairs, edges.num_items) for name, one in found.items()}


@dataclass(frozen=True, eq=False)
class _Case:
    """What all rounds share; arrays of judged items, in the order of `pairs`."""

    pairs: Pairs
    anchors: NDArray[np.float32]
    neighbours: ClickNeighbours
    coordinates: Mapping[str, NDArray[np.float32]]
    degree: Floats | None
    views: Sequence[ViewName]
    seed: int

    def round(self, weight: Mapping[str, Floats]) -> dict[str, Trust]:
        """Judge all modalities, with views fitted on items as far as `weight` believes them."""
        clicks = {name: self._click_views(name, weight[name]) for name in self.coordinates}
        # A modality vouches for another one by its agreement with clicks alone: what it owes to the other would make
        # its trust depend on the very feature that is judged.
        alone = {name: self._posterior(name, views) for name, views in clicks.items()}
        found = {}
        for name, views in clicks.items():
            cross = self._cross_views(name, weight, alone) if "modalities" in self.views else {}
            found[name] = self._posterior(name, views | cross) if cross else alone[name]
        return found

    def _click_views(self, name: str, weight: Floats) -> dict[str, Floats]:
        """Agreements with clicks, (S + 1, n) each."""
        coordinates, views = self.coordinates[name], {}
        if "anchor" in self.views:
            views["anchor"] = shown(self.pairs, *anchor_view(self.pairs, coordinates, self.anchors, weight))
        if "structure" in self.views:
            views["structure"] = shown(self.pairs, *structure_view(self.neighbours, coordinates, weight))
        return views

    def _cross_views(self, name: str, weight: Mapping[str, Floats], alone: Mapping[str, Trust]) -> dict[str, Floats]:
        """Agreements with every other modality, and how far that one is believed, (S + 1, n) each."""
        views = {}
        for other in sorted(self.coordinates.keys() - {name}):
            both = weight[name] * weight[other]
            view = cross_view(self.pairs, self.coordinates[other], self.coordinates[name], both)
            views[other] = shown(self.pairs, *view)
            if clicks_seen(self.views):
                views[f"{other} believed"] = np.tile(1 - alone[other].probability, (SHUFFLES + 1, 1))
        return views

    def _posterior(self, name: str, views: Mapping[str, Floats]) -> Trust:
        return posterior(self.pairs, views, self.degree, stream(self.seed, "trust", "storey", name))


def posterior(
    pairs: Pairs,
    views: Mapping[str, Floats],
    degree: Floats | None,
    rng: np.random.Generator,
    *,
    group: IntArray | None = None,
) -> Trust:
    """From agreements to probabilities, of what is judged.

    Args:
        pairs: observed and shuffled.
        views: agreements, (S + 1, n) each, the observed first.
        degree: a fact beside them, (n,).
        rng: of the bootstrap.
        group: what each of the judged belongs to, from 0, (n,), where some depend on each other.
    """
    own = {view: values[0] for view, values in views.items()}
    certain = np.ones(len(pairs.half))
    if not views:
        return Trust(certain, Estimate(1.0, 0.0), own)
    facts = [] if degree is None else [np.tile(degree, (SHUFFLES + 1, 1))]
    ratio = log_ratio(pairs, np.stack([*views.values(), *facts], axis=-1))
    p = np.empty(len(certain))
    for half in (0, 1):
        judged = pairs.half == half
        p[judged] = p_values(ratio[0, judged], ratio[1:, judged].ravel())
    eta = storey(p, rng, group=group)
    independent = len(p) if group is None else len(np.unique(group))
    if (0.5 - p.mean()) * np.sqrt(12 * independent) < SURE or eta.value >= HOPELESS:
        return Trust(certain, Estimate(1.0, eta.standard_error), own)
    return Trust(local_fdr(p, eta.value), eta, own)


def clicks_seen(views: Sequence[ViewName]) -> bool:
    """Whether a modality is compared with clicks, so that it has a trust of its own."""
    return "anchor" in views or "structure" in views


def _spread(found: Trust, pairs: Pairs, num_items: int) -> Trust:
    """From judged items to all."""

    def everywhere(values: Floats, otherwise: float) -> Floats:
        result = np.full(num_items, otherwise)
        result[pairs.items] = values
        return result

    views = {name: everywhere(values, np.nan) for name, values in found.views.items()}
    return Trust(everywhere(found.probability, found.eta.value), found.eta, views)
