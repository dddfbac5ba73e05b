"""Parts that backbones with item content share; all draw their initial weights in the order of their calls."""

from collections.abc import Callable, Iterable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from trustmm.backbone.initialise import Draw, linear, xavier_uniform
from trustmm.dataset.data import Features, TrainData
from trustmm.graph.neighbours import NeighbourSearch
from trustmm.graph.rows import RowTable
from trustmm.graph.sparse import SparseMatrices, normalised_matrix


def node_table(train: TrainData, width: int, rng: np.random.Generator) -> nn.Parameter:
    """Embeddings of all nodes (N, width), users first; Xavier-uniform over the users and over the items."""
    return nn.Parameter(
        torch.cat([xavier_uniform((count, width), rng) for count in (train.num_users, train.num_items)])
    )


def feature_tables(train: TrainData, *, trainable: bool, by_rows: bool = False) -> nn.ParameterDict:
    """The features (I, d_m) of each modality, in alphabetical order, as parameters that start at the input.

    `by_rows` promises that training reads them by `take` alone.
    """
    kind = RowTable if by_rows else nn.Parameter
    return nn.ParameterDict({m: kind(torch.tensor(train.features[m]), trainable) for m in sorted(train.features)})


def feature_projections(
    train: TrainData,
    width: int,
    rng: np.random.Generator,
    *,
    weight: Draw | None = None,
    order: Callable[[Iterable[str]], list[str]] = sorted,
) -> nn.ModuleDict:
    """A linear layer from d_m to `width` for each modality, drawn in this order; `weight` as in `linear`."""
    widths = {m: train.features[m].shape[1] for m in order(train.features)}
    return nn.ModuleDict({m: linear(inputs, width, rng, weight=weight) for m, inputs in widths.items()})


def item_graphs(train: TrainData, k_of: Mapping[str, int], neighbours: NeighbourSearch) -> SparseMatrices:
    """The normalised graph (I, I) of each modality's k nearest items, weighted by the cosine of the input features."""
    size = train.num_items
    found = {name: neighbours(matrix, k=min(k_of[name], size)) for name, matrix in train.features.items()}
    return SparseMatrices({name: normalised_matrix(*one.entries(), size) for name, one in found.items()})


def side_by_side(features: Features) -> NDArray[np.float32]:
    """One matrix (I, X) of all modalities, in alphabetical order."""
    return np.concatenate([features[name] for name in sorted(features)], axis=1)


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
