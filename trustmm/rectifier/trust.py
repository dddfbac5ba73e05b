"""Know which features are wrong, and mend only these: no label, no look at the injected share."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from trustmm.dataset.data import TrainData
from trustmm.prior.lightgcn import Prior
from trustmm.rectifier.mending import Mend, Mending
from trustmm.store.cache import Cache
from trustmm.trust.frames import trusted_mean
from trustmm.trust.mismatch import Trust, ViewName
from trustmm.trust.stored import Judge

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
        judge = Judge(self.views, self.k, seed, cache, device)
        clips = sorted(train.frames) if "frames" in self.views else ()
        in_time = {name: judge.frames(name, train, anchors_ID) for name in clips}
        for name, one in in_time.items():
            if not np.isnan(one.eta.value):
                log.info("trust: about %.0f%% of the %s frames are not their item's", 100 * one.eta.value, name)
        pooled = {name: self._pooled(train, name, one) for name, one in in_time.items() if not one.hopeless}
        train = replace(train, features={**train.features, **pooled})
        trust = judge.features(train, anchors_ID)
        for name, one in trust.items():
            log.info("trust: %s", words(name, one))
        mended, mends = self.mend(train, anchors_ID, trust, seed=seed, device=device)
        return mended, {name: replace(mend, frames=in_time.get(name)) for name, mend in mends.items()}

    def _pooled(self, train: TrainData, name: str, frames: Trust) -> NDArray[np.float32]:
        """The mean of the believed frames, for items with training edges."""
        doubted = frames.probability if self.weight == "soft" else frames.probability > self.threshold
        known = train.propagation.item_degree[train.frames[name].items] > 0
        return trusted_mean(train.frames[name], 1.0 - np.where(known, doubted, 0.0), train.features[name])


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
