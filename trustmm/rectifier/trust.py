"""Know which features are wrong, and mend only these: no label, no look at the injected share."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from trustmm.dataset.data import TrainData
from trustmm.prior.lightgcn import Prior
from trustmm.rectifier.mending import Mend, Mending
from trustmm.store.cache import Cache
from trustmm.store.digest import digest
from trustmm.store.identity import code_digest
from trustmm.trust.frames import judge_frames, trusted_mean
from trustmm.trust.mismatch import Trust, ViewName, judge
from trustmm.trust.storey import Estimate

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class TrustRectifier(Mending):
    """Features as far as they are believed: the probability of `trustmm.trust.mismatch`, and `Mending` by it."""

    views: Sequence[ViewName]
    """What the probability is judged by, see `judge`. With `frames`, single frames of modalities with a time axis are
    judged first, and an item's feature becomes the mean of the believed ones, by `weight` and `threshold`."""

    def __call__(
        self,
        train: TrainData,
        prior: Callable[[], Prior],
        *,
        eta: Mapping[str, float],
        seed: int,
        cache: Cache,
        device: torch.device,
    ) -> tuple[TrainData, dict[str, Mend]]:
        """Mended data, and what was done to each modality.

        Args:
            train: data with observed features, left as they are.
            prior: gives the anchors.
            eta: injected share by modality, not looked at.
            seed: of folds and shuffles.
            cache: where probabilities are kept.
            device: where neighbours are searched.
        """
        anchors_ID = prior().item_ID
        in_time = self._frames_judged(train, anchors_ID, seed, cache, device)
        pooled = {name: self._pooled(train, name, one) for name, one in in_time.items() if not one.hopeless}
        train = replace(train, features={**train.features, **pooled})
        trust = self._judged(train, anchors_ID, seed, cache, device)
        for name, one in trust.items():
            log.info("trust: %s", words(name, one))
        mended, mends = self.mend(train, anchors_ID, trust, seed=seed, device=device)
        return mended, {name: replace(mend, frames=in_time.get(name)) for name, mend in mends.items()}

    def _pooled(self, train: TrainData, name: str, frames: Trust) -> NDArray[np.float32]:
        """The mean of the believed frames, for items with training edges."""
        doubted = frames.probability if self.weight == "soft" else frames.probability > self.threshold
        known = train.propagation.item_degree[train.frames[name].items] > 0
        return trusted_mean(train.frames[name], 1.0 - np.where(known, doubted, 0.0), train.features[name])

    def _frames_judged(
        self, train: TrainData, anchors_ID: NDArray[np.float32], seed: int, cache: Cache, device: torch.device
    ) -> dict[str, Trust]:
        found = {}
        for name in sorted(train.frames) if "frames" in self.views else ():
            every = {other: [one.rows_NX, one.offsets] for other, one in train.frames.items()}
            key = self._key(train, anchors_ID, seed, judge_frames.__module__) | {"frames": digest([name, every])}

            def compute(name: str = name) -> dict[str, NDArray[Any]]:
                one = judge_frames(name, train, anchors_ID, views=self.views, k=self.k, seed=seed, device=device)
                return dict(_arrays(name, one))

            found[name] = _restored(name, cache.arrays("trust", key, compute))
            if not np.isnan(found[name].eta.value):
                log.info("trust: about %.0f%% of the %s frames are not their item's", 100 * found[name].eta.value, name)
        return found

    def _key(self, train: TrainData, anchors_ID: NDArray[np.float32], seed: int, module: str) -> dict[str, Any]:
        edges = train.propagation
        return {
            "arrays": digest([edges.keys, edges.num_items, anchors_ID, dict(train.features)]),
            "options": {"views": list(self.views), "k": self.k},
            "seed": seed,
            "code": code_digest(module),
        }

    def _judged(
        self, train: TrainData, anchors_ID: NDArray[np.float32], seed: int, cache: Cache, device: torch.device
    ) -> dict[str, Trust]:
        edges, key = train.propagation, self._key(train, anchors_ID, seed, judge.__module__)

        def compute() -> dict[str, NDArray[Any]]:
            found = judge(train.features, edges, anchors_ID, views=self.views, k=self.k, seed=seed, device=device)
            return {field: array for name, one in found.items() for field, array in _arrays(name, one)}

        stored = cache.arrays("trust", key, compute)
        return {name: _restored(name, stored) for name in train.features}


def words(name: str, trust: Trust) -> str:
    """The estimate of one modality, or why there is none."""
    if np.isnan(trust.eta.value):
        return f"too few items with training edges to judge the {name} features; they stay as they are"
    if trust.hopeless:
        return (
            f"the {name} features do not match their items: none can be trusted or repaired, so they stay as they are"
        )
    share, error = trust.eta
    return f"about {share:.0%} of the {name} features (standard error {error:.1%}) are not their item's"


def _arrays(name: str, trust: Trust) -> list[tuple[str, NDArray[Any]]]:
    views = [(f"{name}/view/{view}", values) for view, values in trust.views.items()]
    return [(f"{name}/probability", trust.probability), (f"{name}/eta", np.array(trust.eta)), *views]


def _restored(name: str, stored: Mapping[str, NDArray[Any]]) -> Trust:
    start = f"{name}/view/"
    views = {key.removeprefix(start): values for key, values in stored.items() if key.startswith(start)}
    return Trust(stored[f"{name}/probability"], Estimate(*stored[f"{name}/eta"].tolist()), views)
