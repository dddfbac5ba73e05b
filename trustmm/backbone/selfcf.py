"""SELFCF: a graph encoder that learns from its own disturbed output, without negatives and without content."""

from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from trustmm.backbone.base import Backbone, Batch, Embeddings
from trustmm.backbone.content import node_table
from trustmm.backbone.initialise import linear
from trustmm.dataset.data import TrainData
from trustmm.graph.bipartite import bipartite_operator, layer_mean
from trustmm.graph.neighbours import NeighbourSearch
from trustmm.graph.rows import take
from trustmm.graph.sparse import SparsePattern
from trustmm.options.checks import Count, NonNegative, Share


class SELFCF(Backbone):
    r"""Self-supervised collaborative filtering (Zhou et al., TORS 2023, https://arxiv.org/abs/2107.03019).

    The variant with embedding dropout ("ed") on LightGCN:

    .. math::
        L = \tfrac12 c(\operatorname{pred} h_u, \bar h_i) + \tfrac12 c(\operatorname{pred} h_i, \bar h_u)
            + \tfrac{\mathrm{reg}}{2} (\|h_u\|_F^2 + \|h_i\|_F^2), \qquad
        s_{ui} = \langle \operatorname{pred} h_u, h_i \rangle + \langle h_u, \operatorname{pred} h_i \rangle

    with c the negative mean cosine over a batch's positive pairs, h the LightGCN mean, :math:`\bar h` its gathered rows
    after a dropout, without gradient, and pred a linear layer. In training h comes from a graph whose directed entries
    are dropped, each for itself, at a rate drawn anew for every batch, those that survive divided by 1 - rate; scores
    come from the whole graph.

    Deviations: none from the public reference, whose rate is uniform on [0, 1). Near 1 its scaling explodes;
    `graph_dropout` below 1 bounds it.

    Args:
        train: messages over its propagation edges; features are ignored.
        rng: stream for the initial weights: Xavier-uniform embeddings.
        neighbours: unused, this model has no item graph.
        embedding_dim: width D.
        num_layers: depth of the propagation.
        dropout: of the targets.
        graph_dropout: end of the interval from 0 on which the graph's rate is uniform.
        reg: weight of the squared norms of the batch's rows.
    """

    propagates = True
    uses_negatives = False

    def __init__(
        self,
        train: TrainData,
        *,
        rng: np.random.Generator,
        neighbours: NeighbourSearch,
        embedding_dim: Count,
        num_layers: Count,
        dropout: Share,
        graph_dropout: Share,
        reg: NonNegative,
    ) -> None:
        super().__init__()
        self.num_users, self.num_layers = train.num_users, num_layers
        self.dropout, self.graph_dropout, self.reg = dropout, graph_dropout, reg
        self.operator = bipartite_operator(train.propagation)
        self.pattern = SparsePattern(self.operator.row_index(), self.operator.columns, self.operator.shape)
        self.node_ND = node_table(train, embedding_dim, rng)
        self.predictor = linear(embedding_dim, embedding_dim, rng)

    def loss_terms(self, batch: Batch) -> Mapping[str, Tensor]:
        """Users predict items, items users, and the square penalty."""
        index = torch.cat([batch.users, batch.positives + self.num_users])
        values_E = self.dropped_values()
        layer_ND: Tensor = self.node_ND
        total_ND = layer_ND
        for _ in range(self.num_layers):
            layer_ND = self.pattern.product(values_E, layer_ND)
            total_ND = total_ND + layer_ND
        mean_BD = take(total_ND, index) / (self.num_layers + 1)
        user_BD, item_BD = mean_BD.chunk(2)
        target_user_BD = self.drop("keep_user", user_BD.detach(), self.dropout)
        target_item_BD = self.drop("keep_item", item_BD.detach(), self.dropout)
        cosine_of_users = F.cosine_similarity(self.predictor(user_BD), target_item_BD).mean()
        cosine_of_items = F.cosine_similarity(self.predictor(item_BD), target_user_BD).mean()
        return {"pairs": -(cosine_of_users + cosine_of_items) / 2, "reg": self.reg / 2 * mean_BD.square().sum()}

    def dropped_values(self) -> Tensor:
        """S's entries (E,), some dropped at a rate that is drawn with them; the two directions of an edge are two."""
        rate = self.graph_dropout * self.draws.uniform("graph_rate")
        values = self.operator.values
        keep = self.draws.keep("keep_graph", (len(values),), rate).to(values)
        return values * keep / (1 - rate)

    def embeddings(self) -> Embeddings:
        """Predicted and plain rows side by side, items the other way round."""
        mean_ND = layer_mean(self.operator, self.node_ND, self.num_layers)
        predicted_ND, users = self.predictor(mean_ND), self.num_users
        return Embeddings(
            torch.cat([predicted_ND[:users], mean_ND[:users]], dim=1),
            torch.cat([mean_ND[users:], predicted_ND[users:]], dim=1),
        )
