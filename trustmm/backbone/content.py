"""Parts that backbones with item content share; all draw their initial weights in the order of their calls."""

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor, nn

from trustmm.backbone.initialise import Draw, linear, xavier_uniform
from trustmm.dataset.data import Features, TrainData


def node_table(train: TrainData, width: int, rng: np.random.Generator) -> nn.Parameter:
    """Embeddings of all nodes (N, width), users first; Xavier-uniform over the users and over the items."""
    return nn.Parameter(
        torch.cat([xavier_uniform((count, width), rng) for count in (train.num_users, train.num_items)])
    )


def feature_tables(train: TrainData, *, trainable: bool) -> nn.ParameterDict:
    """The features (I, d_m) of each modality, in alphabetical order, as parameters that start at the input."""
    return nn.ParameterDict(
        {m: nn.Parameter(torch.tensor(train.features[m]), requires_grad=trainable) for m in sorted(train.features)}
    )


def feature_projections(
    train: TrainData, width: int, rng: np.random.Generator, *, weight: Draw | None = None
) -> nn.ModuleDict:
    """A linear layer from d_m to `width` for each modality, in alphabetical order; `weight` as in `linear`."""
    widths = {m: train.features[m].shape[1] for m in sorted(train.features)}
    return nn.ModuleDict({m: linear(inputs, width, rng, weight=weight) for m, inputs in widths.items()})


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
