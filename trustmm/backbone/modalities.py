"""Item content that is not trained, and the order of modalities where a paper singles one out."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from trustmm.dataset.data import Features


def in_order(names: Iterable[str]) -> list[str]:
    """`visual` first, the others by name: the order of the reference where its two are visual and textual."""
    return sorted(names, key=lambda name: (name != "visual", name))


class Content(nn.Module):
    """Feature matrices (I, d_m) by modality, in order, that move with their module; no parameters, never saved."""

    def __init__(self, features: Features) -> None:
        super().__init__()
        self.widths = {name: features[name].shape[1] for name in in_order(features)}
        for name in self.widths:
            self.register_buffer(f"{name}_IX", torch.from_numpy(features[name]), persistent=False)

    def __getitem__(self, name: str) -> Tensor:
        """The matrix of a modality."""
        return getattr(self, f"{name}_IX")
