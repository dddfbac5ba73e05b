"""The ceiling of `rectifier=trust`: the same mending by somebody who was told which features are wrong."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from trustmm.dataset.data import TrainData
from trustmm.prior.lightgcn import Prior
from trustmm.rectifier.mending import Mend, Mending
from trustmm.store.cache import Cache
from trustmm.trust.mismatch import Trust
from trustmm.trust.storey import Estimate


@dataclass(frozen=True, kw_only=True)
class OracleRectifier(Mending):
    """A control, no method: the probability is 1 for touched items and 0 for others. Tagged `oracle`."""

    oracle = True

    def __call__(  # type: ignore[override]  # it is told what no method is told
        self,
        train: TrainData,
        prior: Callable[[], Prior],
        *,
        touched: Mapping[str, NDArray[np.bool_]],
        eta: Mapping[str, float],
        seed: int,
        cache: Cache,
        device: torch.device,
    ) -> tuple[TrainData, dict[str, Mend]]:
        """Mended data, and what was done to each modality.

        Args:
            train: data with observed features, left as they are.
            prior: gives the anchors.
            touched: damaged items of each modality, (I,), which nobody knows in practice.
            eta: injected share by modality, not looked at.
            seed: of the mending.
            cache: not used.
            device: where neighbours are searched.
        """
        warm = train.propagation.item_degree > 0
        trust = {}
        for name, wrong in touched.items():
            share = float(wrong[warm].mean()) if warm.any() else 0.0
            trust[name] = Trust(np.where(warm, wrong, share), Estimate(share, 0.0), {})
        return self.mend(train, prior().item_ID, trust, seed=seed, device=device)
