"""LightGCN: the content-free graph model; also the anchor of the rectifier and the prior of the edits."""

from collections.abc import Mapping

import numpy as np
from torch import Tensor

from trustmm.backbone.base import Backbone, Batch, Embeddings
from trustmm.backbone.content import node_table
from trustmm.backbone.losses import bpr, norm_penalty
from trustmm.dataset.data import TrainData
from trustmm.graph.bipartite import bipartite_operator, layer_mean
from trustmm.graph.neighbours import NeighbourSearch
from trustmm.graph.rows import LayerMeanRows, Take, map_rows
from trustmm.options.checks import Count, NonNegative


class LightGCN(Backbone):
    r"""LightGCN: propagation without weights or nonlinearity (He et al., SIGIR 2020, https://arxiv.org/abs/2002.02126).

    .. math::  Z = \tfrac{1}{L+1} \textstyle\sum_{l=0}^{L} S^l E, \qquad S = D^{-1/2} A D^{-1/2}

    with A the (N, N) user-item adjacency. Ignores item features, so it is the content-free control of a robustness
    table. Deviations: the norm penalty (on layer 0) is not squared, as in the public reference.

    Args:
        train: messages over its propagation edges; features are ignored.
        rng: stream for the initial embeddings, Xavier-uniform.
        neighbours: unused, this model has no item graph.
        embedding_dim: width D.
        num_layers: depth L.
        reg: weight of the norm penalty.
    """

    propagates = True

    def __init__(
        self,
        train: TrainData,
        *,
        rng: np.random.Generator,
        neighbours: NeighbourSearch,
        embedding_dim: Count,
        num_layers: Count,
        reg: NonNegative,
    ) -> None:
        super().__init__()
        self.num_users, self.num_layers, self.reg = train.num_users, num_layers, reg
        self.operator = bipartite_operator(train.propagation)
        self.node_ND = node_table(train, embedding_dim, rng)

    def loss_terms(self, batch: Batch) -> Mapping[str, Tensor]:
        """BPR on the propagated rows, the norm penalty on the rows of layer 0."""
        index = batch.nodes(self.num_users)
        mean = LayerMeanRows(self.operator, self.num_layers, index)
        final_BD, layer0_BD = map_rows(self.node_ND, mean, Take(index))
        return {"bpr": bpr(*final_BD.chunk(3)), "reg": self.reg * norm_penalty(*layer0_BD.chunk(3))}

    def embeddings(self) -> Embeddings:
        """Layer means of all nodes."""
        final_ND = layer_mean(self.operator, self.node_ND, self.num_layers)
        return Embeddings.of_nodes(final_ND, self.num_users)
