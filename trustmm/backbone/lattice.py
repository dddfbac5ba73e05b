"""LATTICE: an item graph learned from projected content, beside the graph of the raw content."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from trustmm.backbone.base import Backbone, Batch, Embeddings
from trustmm.backbone.content import feature_projections, feature_tables, item_graphs, node_table
from trustmm.backbone.losses import bpr, square_penalty
from trustmm.dataset.data import TrainData
from trustmm.graph.bipartite import layer_mean, row_mean_operator
from trustmm.graph.neighbours import NeighbourSearch, unit_neighbours, unit_rows
from trustmm.graph.rows import LayerMeanRows, ProductRows, RowMap, map_rows, take
from trustmm.graph.sparse import (
    LearnedMatrix,
    SparseMatrix,
    inner_products,
    power_product,
    symmetric_normalise,
)
from trustmm.options.checks import Count, NonNegative, Share

# Shapes: those of `base`; M modalities, E stored entries of a graph, at most I k each.


class LATTICE(Backbone):
    r"""Latent structure mining (Zhang et al., MM 2021, https://arxiv.org/abs/2104.09036).

    .. math::
        T = (1 - \lambda) \operatorname{norm}\Bigl(\textstyle\sum_m a_m \operatorname{kNN}(W_m X_m + b_m)\Bigr)
            + \lambda \textstyle\sum_m a_m \operatorname{norm}(\operatorname{kNN}(X_m)), \qquad
        s_{ui} = \Bigl\langle Z_u, Z_i + \frac{(T^n E)_i}{\|(T^n E)_i\|} \Bigr\rangle

    with :math:`a` the softmax of M learned weights, kNN graphs weighted by cosine similarity, norm(K) =
    :math:`D^{-1/2} K D^{-1/2}`, and Z the mean over layers of :math:`D^{-1}(A + 1)` on the user-item graph.

    T is rebuilt with its gradient (through kept similarities, degrees and a; which neighbours are kept is constant)
    at the first batch of an epoch, reused without for the rest, and rebuilt for every evaluation.

    Deviations: features are trainable, as in the public reference, unless `trainable_features` is false. T is sparse
    from end to end, the same numbers in O(I k) memory; the search itself goes through blocks of rows, and is skipped
    while the projected features are what they were.

    Args:
        train: messages over its propagation edges; at least one modality.
        rng: stream for the initial weights.
        neighbours: search for the graphs of the raw features, built once.
        embedding_dim: width D, also of the projections.
        num_layers: depth of the user-item propagation.
        num_item_layers: depth n of the item-graph propagation.
        k: neighbours of an item in each modality.
        lam: share of the raw features' graph in T.
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
        embedding_dim: Count,
        num_layers: Count,
        num_item_layers: Count,
        k: Count,
        lam: Share,
        reg: NonNegative,
        trainable_features: bool,
    ) -> None:
        super().__init__()
        self.num_users, self.num_layers, self.num_item_layers = train.num_users, num_layers, num_item_layers
        self.k, self.lam, self.reg = min(k, train.num_items), lam, reg
        self.node_ND = node_table(train, embedding_dim, rng)
        self.features = feature_tables(train, trainable=trainable_features)
        self.projections = feature_projections(train, embedding_dim, rng)
        self.modality_weight_M = nn.Parameter(torch.full((len(train.features),), 1 / len(train.features)))
        self.operator = row_mean_operator(train.propagation)
        self.raw_graphs = item_graphs(train, dict.fromkeys(train.features, k), neighbours)
        self.epoch_graph: SparseMatrix | None = None
        self._searched: dict[str, tuple[Tensor, Tensor, Tensor]] = {}

    def begin_epoch(self, rng: np.random.Generator) -> None:
        """Let the next batch rebuild the item graph."""
        self.epoch_graph = None

    def loss_terms(self, batch: Batch) -> Mapping[str, Tensor]:
        """BPR and the square penalty, both on the final rows."""
        items = torch.cat([batch.positives, batch.negatives])
        index = torch.cat([batch.users, items + self.num_users])
        mean_BD, added_BD = self._rows(LayerMeanRows(self.operator, self.num_layers, index), items)
        user_BD, item_BD = mean_BD.split([len(batch.users), len(items)])
        final_BD = (user_BD, *(item_BD + unit_rows(added_BD)).chunk(2))
        penalty = square_penalty(*final_BD, configured_size=batch.configured_size)
        return {"bpr": bpr(*final_BD), "reg": self.reg * penalty}

    def embeddings(self) -> Embeddings:
        """Users, and items with the direction that the item graph adds, from a fresh graph."""
        final_ND = layer_mean(self.operator, self.node_ND, self.num_layers)
        added_ID = unit_rows(self._propagated(self.item_graph()))
        return Embeddings(final_ND[: self.num_users], final_ND[self.num_users :] + added_ID)

    def item_graph(self) -> LearnedMatrix:
        """T of the current parameters, (I, I), differentiable."""
        share_M = self.modality_weight_M.softmax(dim=0)
        latent, raw = [], []
        for share, name in zip(share_M, self.features, strict=True):
            rows, columns, similarity_E = self._latent_similarities(name)
            latent.append((rows, columns, share * similarity_E))
            graph = self.raw_graphs[name]
            raw.append((graph.row_index(), graph.columns, self.lam * share * graph.values))
        rows, columns, values_E = (torch.cat(parts) for parts in zip(*latent, strict=True))
        num_items = len(self.node_ND) - self.num_users
        values_E = (1 - self.lam) * symmetric_normalise(rows, columns, values_E, num_items)
        raw.append((rows, columns, values_E))
        rows, columns, values_E = (torch.cat(parts) for parts in zip(*raw, strict=True))
        return LearnedMatrix(rows, columns, values_E, (num_items, num_items))

    def _latent_similarities(self, modality: str) -> tuple[Tensor, Tensor, Tensor]:
        """Rows, columns and cosines of the kept pairs of projected features, (E,) each."""
        unit_ID = unit_rows(self.projections[modality](self.features[modality]))
        rows, columns = self._latent_neighbours(modality, unit_ID.detach())
        return rows, columns, inner_products(unit_ID, unit_ID, rows, columns)

    def _latent_neighbours(self, modality: str, unit_ID: Tensor) -> tuple[Tensor, Tensor]:
        """The search, or its last answer: an epoch starts with the features of the evaluation before it."""
        before_ID, rows, columns = self._searched.get(modality, (unit_ID[:0], unit_ID[:0], unit_ID[:0]))
        if before_ID.device != unit_ID.device or not torch.equal(before_ID, unit_ID):
            rows, columns, _ = unit_neighbours(unit_ID, k=self.k).entries()
            self._searched[modality] = (unit_ID, rows, columns)
        return rows, columns

    def _rows(self, mean: RowMap, items: Tensor) -> tuple[Tensor, ...]:
        """Rows of the layer mean, and rows `items` (B,) of T^n E; the first batch of an epoch learns T."""
        if self.epoch_graph is None:
            graph = self.item_graph()
            self.epoch_graph = graph.constant
            return *map_rows(self.node_ND, mean), take(self._propagated(graph), items)
        added = ProductRows(self.epoch_graph, items, depth=self.num_item_layers, first=self.num_users)
        return map_rows(self.node_ND, mean, added)

    def _propagated(self, graph: LearnedMatrix) -> Tensor:
        return power_product(graph, self.node_ND[self.num_users :], self.num_item_layers)
