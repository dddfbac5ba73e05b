"""DeepStyle: content minus what is common to an item's category leaves its style."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from trustmm.backbone.base import Backbone, Batch, Embeddings
from trustmm.backbone.content import side_by_side
from trustmm.backbone.initialise import linear, xavier_uniform
from trustmm.backbone.losses import bpr, square_penalty
from trustmm.dataset.data import TrainData
from trustmm.graph.neighbours import NeighbourSearch
from trustmm.graph.rows import RowTable, take
from trustmm.options.checks import Count, NonNegative


class DeepStyle(Backbone):
    r"""Learning user preferences on visual styles (Liu, Wu & Wang, SIGIR 2017, https://doi.org/10.1145/3077136.3080658).

    .. math::  s_{ui} = \langle p_u, W x_i - l_{c(i)} + q_i \rangle

    with x_i the concatenated raw features, modalities in alphabetical order, and l the vector of the item's category.

    Deviations: any modality, where the paper has images. The square penalty is on the gathered rows of p, q and l, as
    in a public port (Elliot); that has one l for each item, where the paper has one for each category.

    Args:
        train: edges, at least one modality, and categories; features are not trained.
        rng: stream for the initial weights, Xavier-uniform.
        neighbours: unused, this model has no item graph.
        embedding_dim: width D.
        reg: weight of the square penalty.
    """

    needs_features = True
    needs_categories = True

    def __init__(
        self,
        train: TrainData,
        *,
        rng: np.random.Generator,
        neighbours: NeighbourSearch,
        embedding_dim: Count,
        reg: NonNegative,
    ) -> None:
        super().__init__()
        assert train.categories is not None
        self.reg = reg
        content_IX = side_by_side(train.features)
        self.register_buffer("content_IX", torch.from_numpy(content_IX), persistent=False)
        self.register_buffer("category_I", torch.from_numpy(train.categories), persistent=False)
        self.user_UD = RowTable(xavier_uniform((train.num_users, embedding_dim), rng))
        self.item_ID = RowTable(xavier_uniform((train.num_items, embedding_dim), rng))
        self.category_KD = nn.Parameter(xavier_uniform((int(train.categories.max()) + 1, embedding_dim), rng))
        self.projection = linear(content_IX.shape[1], embedding_dim, rng, bias=False, weight=xavier_uniform)

    content_IX: Tensor
    category_I: Tensor

    def loss_terms(self, batch: Batch) -> Mapping[str, Tensor]:
        """BPR and the square penalty; only the distinct items of the batch are projected."""
        user_BD = take(self.user_UD, batch.users)
        items, place = torch.cat([batch.positives, batch.negatives]).unique(return_inverse=True)
        id_RD, category_RD = take(self.item_ID, items), take(self.category_KD, self.category_I[items])
        item_RD = self.projection(self.content_IX.index_select(0, items)) - category_RD + id_RD
        gathered = (user_BD, take(id_RD, place), take(category_RD, place))
        penalty = square_penalty(*gathered, configured_size=batch.configured_size)
        return {"bpr": bpr(user_BD, *take(item_RD, place).chunk(2)), "reg": self.reg * penalty}

    def embeddings(self) -> Embeddings:
        """Users, and items with their style."""
        style_ID = self.projection(self.content_IX) - self.category_KD[self.category_I]
        return Embeddings(self.user_UD, style_ID + self.item_ID)
