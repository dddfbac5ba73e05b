"""No detection at all: every feature moves towards its neighbours in clicks. What a repair must be compared with."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch

from trustmm.dataset.data import TrainData
from trustmm.options.checks import Count, Share
from trustmm.prior.lightgcn import Prior
from trustmm.rectifier.base import Rectifier
from trustmm.rectifier.mending import Mend, Mending
from trustmm.store.cache import Cache
from trustmm.trust.mismatch import Trust
from trustmm.trust.storey import Estimate


@dataclass(frozen=True, kw_only=True)
class SmoothRectifier(Rectifier):
    """x' = (1 - smooth) x + smooth n, n the mean of the neighbours in clicks; items without training edges stay."""

    smooth: Share
    """How far every item moves."""
    k: Count
    """Neighbours in clicks."""

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
        """Smoothed data, and what was done to each modality; arguments as of `TrustRectifier`."""
        everything = Trust(np.zeros(train.num_items), Estimate(0.0, np.nan), {})
        options = Mending(
            impute="none", weight="gate", threshold=1, mask=False, rematch=False, smooth=self.smooth, k=self.k
        )
        trust = dict.fromkeys(train.features, everything)
        smoothed, mends = options.mend(train, prior().item_ID, trust, seed=seed, device=device)
        return smoothed, {name: replace(one, trust=None) for name, one in mends.items()}
