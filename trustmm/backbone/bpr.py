"""BPR-MF: matrix factorisation on triples, without content or graph."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from trustmm.backbone.base import Backbone, Batch, Embeddings
from trustmm.backbone.initialise import xavier_normal
from trustmm.backbone.losses import bpr, norm_penalty
from trustmm.dataset.data import TrainData
from trustmm.graph.neighbours import NeighbourSearch
from trustmm.graph.rows import RowTable, take
from trustmm.options.checks import Count, NonNegative


class BPRMF(Backbone):
    r"""Bayesian personalised ranking (Rendle et al., UAI 2009, https://arxiv.org/abs/1205.2618).

    .. math::  s_{ui} = \langle p_u, q_i \rangle

    Deviations: the norm penalty is on the gathered rows and not squared, as in the public reference.

    Args:
        train: edges; features are ignored.
        rng: stream for the initial embeddings, Xavier-normal.
        neighbours: unused, this model has no item graph.
        embedding_dim: width D.
        reg: weight of the norm penalty.
    """

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
        self.user_UD = RowTable(xavier_normal((train.num_users, embedding_dim), rng))
        self.item_ID = RowTable(xavier_normal((train.num_items, embedding_dim), rng))

    def loss_terms(self, batch: Batch) -> Mapping[str, Tensor]:
        """BPR and the norm penalty."""
        user_BD = take(self.user_UD, batch.users)
        positive_BD, negative_BD = take(self.item_ID, torch.cat([batch.positives, batch.negatives])).chunk(2)
        return {
            "bpr": bpr(user_BD, positive_BD, negative_BD),
            "reg": self.reg * norm_penalty(user_BD, positive_BD, negative_BD),
        }

    def embeddings(self) -> Embeddings:
        """The factors themselves."""
        return Embeddings(self.user_UD, self.item_ID)
