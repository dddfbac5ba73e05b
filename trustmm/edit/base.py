"""What a job expects of an edit."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from trustmm.dataset.data import TrainData
from trustmm.edit.proposal import Proposal

if TYPE_CHECKING:
    import torch

    from trustmm.prior.lightgcn import Prior
    from trustmm.store.cache import Cache


class Edit:
    """Changes edges. A subclass proposes what; the rest of this class fits the smallest of them."""

    idle: bool = False
    """Changes nothing, asks for no prior."""
    wants_graph_only: bool = False
    """Is asked to edit the supervision, which it keeps."""
    needs_propagation: bool = False
    """Means nothing to a backbone that sends no messages."""
    needs_features: bool = False
    """Looks at item features."""
    leaves_no_positives: bool = False
    """Nothing would be left to train on."""

    def __call__(
        self, train: TrainData, prior: "Callable[[], Prior]", *, seed: int, cache: "Cache", device: "torch.device"
    ) -> Proposal:
        """What to change; the job applies it, so that no edit sees what is held out.

        Args:
            train: the data as observed, left as they are: a repaired feature owes to clicks what it might say of them.
            prior: gives the similarities; trained when it is first called.
            seed: of all draws.
            cache: where costly arrays are kept.
            device: where it runs.
        """
        raise NotImplementedError
