"""FREEDOM: a frozen item graph from content, and a user-item graph pruned anew each epoch."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import numpy as np
import torch
from torch import Tensor

from trustmm.backbone.base import Backbone, Batch, Embeddings
from trustmm.backbone.content import feature_projections, feature_tables, node_table
from trustmm.backbone.losses import bpr
from trustmm.dataset.data import TrainData
from trustmm.graph.bipartite import layer_mean
from trustmm.graph.neighbours import NeighbourSearch
from trustmm.graph.pruned import PrunedGraph
from trustmm.graph.rows import LayerMeanRows, ProductRows, map_rows, take
from trustmm.graph.sparse import SparseMatrix, power_product, symmetric_normalise
from trustmm.options.checks import Count, NonNegative, Within


class FREEDOM(Backbone):
    r"""Freezing and denoising graph structures (Zhou & Shen, MM 2023, https://arxiv.org/abs/2211.06924).

    .. math::  M = \textstyle\sum_m w_m \operatorname{norm}(\operatorname{kNN}(X_m)), \qquad
               s_{ui} = \langle Z_u, Z_i + (M^n E)_i \rangle

    with Z the LightGCN mean. Training sends messages over a pruned user-item graph, evaluation over all of it.
    Deviations: features are trainable, as in the public reference, unless `trainable_features` is false.

    Args:
        train: messages over its propagation edges; at least one modality.
        rng: stream for the initial weights.
        neighbours: search for the item graph, built once from the input features.
        embedding_dim: width D.
        num_layers: depth of the user-item propagation.
        num_item_layers: depth n of the item-graph propagation.
        k: neighbours of an item in each modality.
        dropout: share of user-item edges dropped each epoch, 0 keeps all; 1, which keeps none, is refused.
        modality_weight: w by modality name; others share what is left to 1 equally.
        reg: weight of the BPR terms on projected features.
        trainable_features: treat the features as parameters that start at the input.
    """

    needs_features = True
    propagates = True

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
        dropout: Annotated[float, Within("[0, 1)")],
        modality_weight: Mapping[str, NonNegative],
        reg: NonNegative,
        trainable_features: bool,
    ) -> None:
        super().__init__()
        self.num_users, self.num_layers, self.num_item_layers = train.num_users, num_layers, num_item_layers
        self.reg = reg
        self.node_ND = node_table(train, embedding_dim, rng)
        self.features = feature_tables(train, trainable=trainable_features, by_rows=True)
        self.projections = feature_projections(train, embedding_dim, rng)
        self.graph = PrunedGraph(train.propagation, drop_fraction=dropout)
        self.item_graph = frozen_item_graph(train, modality_weight, k, neighbours)

    @classmethod
    def check_fit(cls, modalities: Sequence[str], **options: Any) -> None:
        """Weights that leave something for every modality."""
        modality_weights(modalities, options.get("modality_weight", {}))

    def begin_epoch(self, rng: np.random.Generator) -> None:
        """Draw the pruned user-item graph."""
        self.graph.begin_epoch(rng)

    def loss_terms(self, batch: Batch) -> Mapping[str, Tensor]:
        """BPR of the final representations, and of the users with each modality's projected features."""
        items, place = torch.cat([batch.positives, batch.negatives]).unique(return_inverse=True)
        index = torch.cat([batch.users, items + self.num_users])
        mean = LayerMeanRows(self.graph.kept, self.num_layers, index)
        added = ProductRows(self.item_graph, items, depth=self.num_item_layers, first=self.num_users)
        mean_BD, added_RD = map_rows(self.node_ND, mean, added)
        user_BD, item_RD = mean_BD.split([len(batch.users), len(items)])
        views = [self.projections[name](take(features, items)) for name, features in self.features.items()]
        final, *content = (bpr(user_BD, *take(rows, place).chunk(2)) for rows in (item_RD + added_RD, *views))
        return {"bpr": final, "content": self.reg * torch.stack(content).sum()}

    def embeddings(self) -> Embeddings:
        """Users, and items with what the item graph adds."""
        final_ND = layer_mean(self.graph.all, self.node_ND, self.num_layers)
        added_ID = power_product(self.item_graph, self.node_ND[self.num_users :], self.num_item_layers)
        return Embeddings(final_ND[: self.num_users], final_ND[self.num_users :] + added_ID)


def frozen_item_graph(
    train: TrainData, modality_weight: Mapping[str, float], k: int, neighbours: NeighbourSearch
) -> SparseMatrix:
    """M = sum of w_m times the normalised binary kNN graph of modality m, (I, I) with at most k entries a modality.

    Raises: ValueError if the weights given exceed 1 with others left to share, or all are 0.
    """
    rows, columns, values = [], [], []
    for name, weight in modality_weights(sorted(train.features), modality_weight).items():
        row, column, _ = neighbours(train.features[name], k=min(k, train.num_items)).entries()
        rows.append(row)
        columns.append(column)
        values.append(weight * symmetric_normalise(row, column, torch.ones(len(row)), train.num_items))
    shape = (train.num_items, train.num_items)
    return SparseMatrix(torch.cat(rows), torch.cat(columns), torch.cat(values), shape)


def modality_weights(names: Sequence[str], given: Mapping[str, float]) -> dict[str, float]:
    """A weight for each modality, summing to 1: those given by name, the rest shared equally."""
    weights = {name: given[name] for name in names if name in given}
    others = [name for name in names if name not in weights]
    rest = 1 - sum(weights.values())
    if rest < 0 and others:
        raise ValueError(f"backbone.modality_weight must leave something for {others}, got {dict(given)}, more than 1")
    weights |= {name: rest / len(others) for name in others}
    total = sum(weights.values())
    if total <= 0:
        raise ValueError(f"backbone.modality_weight must not be 0 for all of {names}, got {dict(given)}")
    return {name: weights[name] / total for name in names}
