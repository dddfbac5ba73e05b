"""VBPR: matrix factorisation with a linear view of raw item content."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from trustmm.backbone.base import Backbone, Batch, Embeddings
from trustmm.backbone.content import side_by_side
from trustmm.backbone.initialise import linear, xavier_normal, xavier_uniform
from trustmm.backbone.losses import bpr, norm_penalty
from trustmm.dataset.data import TrainData
from trustmm.graph.neighbours import NeighbourSearch
from trustmm.graph.rows import RowTable, take
from trustmm.options.checks import Count, NonNegative


class VBPR(Backbone):
    r"""Visual Bayesian personalised ranking (He & McAuley, AAAI 2016, https://arxiv.org/abs/1510.01784).

    .. math::  s_{ui} = \langle p_u, [e_i ; W x_i + b] \rangle

    with x_i the concatenated raw features, modalities in alphabetical order. Deviations (those of the variant that
    the paper uses): one projection for all modalities, no item or visual bias, norm penalty on the gathered rows.

    Args:
        train: edges and at least one modality; features are not trained.
        rng: stream for the initial weights: Xavier-uniform embeddings, Xavier-normal W, b = 0.
        neighbours: unused, this model has no item graph.
        embedding_dim: width D of the id part and of the content part.
        reg: weight of the norm penalty, which includes the projected rows.
    """

    needs_features = True

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
        self.reg = reg
        content_IX = side_by_side(train.features)
        self.register_buffer("content_IX", torch.from_numpy(content_IX), persistent=False)
        self.user_UD = RowTable(xavier_uniform((train.num_users, 2 * embedding_dim), rng))
        self.item_ID = RowTable(xavier_uniform((train.num_items, embedding_dim), rng))
        self.projection = linear(content_IX.shape[1], embedding_dim, rng, bias=False, weight=xavier_normal)
        self.projection.bias = nn.Parameter(torch.zeros(embedding_dim))

    content_IX: Tensor

    def loss_terms(self, batch: Batch) -> Mapping[str, Tensor]:
        """BPR and the norm penalty; only the distinct items of the batch are projected."""
        user_BD = take(self.user_UD, batch.users)
        items, place = torch.cat([batch.positives, batch.negatives]).unique(return_inverse=True)
        content_RD = self.projection(self.content_IX.index_select(0, items))
        item_RD = torch.cat([take(self.item_ID, items), content_RD], dim=1)
        positive_BD, negative_BD = take(item_RD, place).chunk(2)
        return {
            "bpr": bpr(user_BD, positive_BD, negative_BD),
            "reg": self.reg * norm_penalty(user_BD, positive_BD, negative_BD),
        }

    def embeddings(self) -> Embeddings:
        """Users, and items with their projected content beside the id part."""
        return Embeddings(self.user_UD, torch.cat([self.item_ID, self.projection(self.content_IX)], dim=1))
