"""What a job expects of a rectifier."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from trustmm.dataset.data import TrainData

if TYPE_CHECKING:
    import torch

    from trustmm.prior.lightgcn import Prior
    from trustmm.store.cache import Cache


class Rectifier:
    """Repairs item features. A subclass says how; the rest of this class fits the smallest of them."""

    idle: bool = False
    """Changes nothing, asks for no prior."""
    oracle: bool = False
    """Is told which items were touched, as an upper bound: its call takes `touched`, masks (I,) by modality."""
    oracle_rho: bool = False
    """Looks at the injected ratio, which nobody knows in practice."""

    def check_fit(self, num_items: int) -> None:
        """Raise ValueError if it does not fit so many items."""

    def __call__(
        self,
        train: TrainData,
        prior: "Callable[[], Prior]",
        *,
        eta: Mapping[str, float],
        seed: int,
        cache: "Cache",
        device: "torch.device",
    ) -> tuple[TrainData, Mapping[str, Any]]:
        """Data with rectified features, and a report by modality, a `Repair` or none.

        Args:
            train: data with observed features, left as they are.
            prior: gives the anchors; trained when it is first called.
            eta: injected share by modality, for oracles alone.
            seed: of all draws.
            cache: where costly arrays are kept.
            device: where it runs.
        """
        raise NotImplementedError
