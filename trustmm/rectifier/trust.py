"""Know which features are wrong, and mend only these: no label, no look at the injected share."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
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
from trustmm.trust.mismatch import Trust, ViewName, judge
from trustmm.trust.storey import Estimate

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class TrustRectifier(Mending):
    """Features as far as they are believed: the probability of `trustmm.trust.mismatch`, and `Mending` by it."""

    views: Sequence[ViewName]
    """What the probability is judged by, see `judge`."""

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
        trust = self._judged(train, anchors_ID, seed, cache, device)
        for name, one in trust.items():
            log.info("trust: %s", words(name, one))
        return self.mend(train, anchors_ID, trust, seed=seed, device=device)

    def _judged(
        self, train: TrainData, anchors_ID: NDArray[np.float32], seed: int, cache: Cache, device: torch.device
    ) -> dict[str, Trust]:
        edges = train.propagation
        key = {
            "arrays": digest([edges.keys, edges.num_items, anchors_ID, dict(train.features)]),
            "options": {"views": list(self.views), "k": self.k},
            "seed": seed,
            "code": code_digest(judge.__module__),
        }

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
