"""What MGCN and SMORE share: collaborative rows plus side rows of content, trained with a contrast between the two."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from trustmm.backbone.base import Backbone, Batch, Embeddings
from trustmm.backbone.content import feature_projections, feature_tables, item_graphs, node_table
from trustmm.backbone.losses import bpr, contrast, square_penalty
from trustmm.dataset.data import TrainData
from trustmm.graph.bipartite import bipartite_operator, layer_mean, user_item_operator
from trustmm.graph.neighbours import NeighbourSearch
from trustmm.graph.rows import LayerMeanRows, ProductRows, Take, map_rows, take

# Shapes: those of `base`; V views of D columns each, R rows: all N nodes, or the distinct users and items of a batch.


class SideInformation(Backbone):
    r"""Final rows Z + side, with Z the LightGCN mean and side made of views that item graphs carry.

    A model of this kind gives its views of all items, :math:`y_v`, and says how the rows :math:`[\hat R y_v ; y_v]` of
    users and items become side. The loss is BPR, the square penalty on the final rows, and the contrast of side with Z
    for a batch's users and positives. Every node of a batch is computed once, however often it occurs.

    Args:
        train: messages over its propagation edges; at least one modality.
        rng: stream for the initial weights.
        neighbours: search for the item graphs, built once from the input features.
        embedding_dim: width D of everything.
        num_layers: depth of the user-item propagation.
        k_of: neighbours of an item, for every modality.
        cl: weight of the contrast.
        temperature: of the contrast.
        reg: weight of the squared norms of the batch's final rows.
        trainable_features: treat the features as parameters that start at the input.
    """

    needs_features = True
    propagates = True
    lr_decay = 0.96

    def __init__(
        self,
        train: TrainData,
        *,
        rng: np.random.Generator,
        neighbours: NeighbourSearch,
        embedding_dim: int,
        num_layers: int,
        k_of: Mapping[str, int],
        cl: float,
        temperature: float,
        reg: float,
        trainable_features: bool,
    ) -> None:
        super().__init__()
        self.num_users, self.num_layers, self.embedding_dim = train.num_users, num_layers, embedding_dim
        self.cl, self.temperature, self.reg = cl, temperature, reg
        self.node_ND = node_table(train, embedding_dim, rng)
        self.features = feature_tables(train, trainable=trainable_features)
        self.projections = feature_projections(train, embedding_dim, rng)
        self.operator, self.user_operator = bipartite_operator(train.propagation), user_item_operator(train.propagation)
        self.item_graphs = item_graphs(train, k_of, neighbours)

    def item_views(self) -> list[Tensor]:
        """Views y of all items, V of (I, D); a batch's users reach most items."""
        raise NotImplementedError

    def side(self, mean_RD: Tensor, views: Sequence[Tensor]) -> Tensor:
        """Side rows (R, D) of the collaborative rows and the V views of the same nodes."""
        raise NotImplementedError

    def loss_terms(self, batch: Batch) -> Mapping[str, Tensor]:
        """BPR, the contrast of side and collaborative rows, and the square penalty."""
        users, user_place, user_count = batch.users.unique(return_inverse=True, return_counts=True)
        items, item_place = torch.cat([batch.positives, batch.negatives]).unique(return_inverse=True)
        index = torch.cat([users, items + self.num_users])
        (mean_RD,) = map_rows(self.node_ND, LayerMeanRows(self.operator, self.num_layers, index))
        views_IX = torch.cat(self.item_views(), dim=1)
        views_RX = torch.cat(map_rows(views_IX, ProductRows(self.user_operator, users), Take(items)))
        side_RD = self.side(mean_RD, views_RX.split(self.embedding_dim, dim=1))
        places = torch.cat([user_place, item_place + len(users)])
        final_BD = take(mean_RD + side_RD, places).chunk(3)
        positive, positive_count = (item_place[: len(batch.positives)] + len(users)).unique(return_counts=True)
        of_users = self._contrast(side_RD[: len(users)], mean_RD[: len(users)], user_count)
        of_items = self._contrast(take(side_RD, positive), take(mean_RD, positive), positive_count)
        penalty = square_penalty(*final_BD, configured_size=batch.configured_size)
        return {"bpr": bpr(*final_BD), "contrast": self.cl * (of_users + of_items), "reg": self.reg * penalty}

    def _contrast(self, side_CD: Tensor, mean_CD: Tensor, counts_C: Tensor) -> Tensor:
        return contrast(side_CD, mean_CD, counts_C, temperature=self.temperature)

    def embeddings(self) -> Embeddings:
        """Collaborative and side rows, added up."""
        mean_ND = layer_mean(self.operator, self.node_ND, self.num_layers)
        views = [torch.cat([self.user_operator @ view_ID, view_ID]) for view_ID in self.item_views()]
        final_ND = mean_ND + self.side(mean_ND, views)
        return Embeddings.of_nodes(final_ND, self.num_users)
