"""MMGCF: content joins the items after the propagation of the ids."""

from collections.abc import Mapping
from typing import Annotated, Literal

import numpy as np
import torch
from torch import Tensor, nn

from trustmm.backbone.base import Backbone, Batch, Embeddings
from trustmm.backbone.content import Content, feature_projections, in_order, node_table
from trustmm.backbone.initialise import linear
from trustmm.backbone.losses import bpr, square_penalty
from trustmm.dataset.data import TrainData
from trustmm.graph.bipartite import layer_mean
from trustmm.graph.neighbours import NeighbourSearch, unit_rows
from trustmm.graph.pruned import PrunedGraph
from trustmm.graph.rows import LayerMeanRows, Take, map_rows, take
from trustmm.options.checks import Count, NonNegative, Within

Fusion = Literal["mean", "sum", "concat"]
Weighting = Literal["equal", "alpha", "normalized"]


class Fuse(nn.Module):
    """Several views of the same rows as one: their mean, their sum, or a linear map of them side by side.

    Args:
        how: which of the three.
        num_views: views.
        width: columns of each view and of the result.
        rng: stream for the linear map.
    """

    def __init__(self, how: Fusion, num_views: int, width: int, *, rng: np.random.Generator) -> None:
        super().__init__()
        self.how = how
        self.map = linear(num_views * width, width, rng) if how == "concat" else None

    def forward(self, views: list[Tensor]) -> Tensor:
        """The result (R, D) of views (R, D)."""
        if self.map is not None:
            return self.map(torch.cat(views, dim=1))
        total = torch.stack(views).sum(dim=0)
        return total / len(views) if self.how == "mean" else total


class MMGCF(Backbone):
    r"""Late fusion of LightGCN's items Z with projected content :math:`t_m = W_m X_m + b_m` (the public toolbox, 2026).

    With fuse the mean, the sum or a linear map of a concatenation, items become

    - `equal`: :math:`\operatorname{fuse}(Z, \operatorname{fuse}(t_1, \dots, t_M))`, one modality as it is;
    - `alpha`: :math:`\operatorname{fuse}(a Z, (1 - a) t_1, \dots)` with a the sigmoid of a scalar that starts at 0;
    - `normalized`: :math:`\operatorname{fuse}(M \operatorname{norm}(Z), \operatorname{norm}(t_1), \dots)`.

    Users are those of LightGCN, scores inner products. Training sends messages over a pruned user-item graph (as
    FREEDOM does), evaluation over all of it. Deviations from the reference: none. No paper describes it.

    Args:
        train: messages over its propagation edges; at least one modality, not trained.
        rng: stream for the initial weights.
        neighbours: unused, this model has no item graph.
        embedding_dim: width D.
        num_layers: depth of the user-item propagation.
        fusion: what fuse is.
        weighting: see above.
        dropout: share of user-item edges dropped each epoch, 0 keeps all.
        reg: weight of the squared norms of the batch's ids.
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
        fusion: Fusion,
        weighting: Weighting,
        dropout: Annotated[float, Within("[0, 1)")],
        reg: NonNegative,
    ) -> None:
        super().__init__()
        self.num_users, self.num_layers, self.weighting = train.num_users, num_layers, weighting
        self.reg = reg
        self.graph = PrunedGraph(train.propagation, drop_fraction=dropout)
        self.node_ND = node_table(train, embedding_dim, rng)
        self.content = Content(train.features)
        self.projections = feature_projections(train, embedding_dim, rng, order=in_order)
        num_modalities = len(self.projections)
        together = num_modalities + 1 if weighting != "equal" else 2
        self.fuse = Fuse(fusion, together, embedding_dim, rng=rng)
        if weighting == "equal" and num_modalities > 1:
            self.fuse_content = Fuse(fusion, num_modalities, embedding_dim, rng=rng)
        if weighting == "alpha":
            self.share_1 = nn.Parameter(torch.zeros(1))

    def begin_epoch(self, rng: np.random.Generator) -> None:
        """Draw the pruned user-item graph."""
        self.graph.begin_epoch(rng)

    def loss_terms(self, batch: Batch) -> Mapping[str, Tensor]:
        """BPR, and the square penalty on the batch's ids; only the distinct items of the batch are fused."""
        items, place = torch.cat([batch.positives, batch.negatives]).unique(return_inverse=True)
        index = torch.cat([batch.users, items + self.num_users])
        mean = LayerMeanRows(self.graph.kept, self.num_layers, index)
        ids = Take(torch.cat([batch.users, items[place] + self.num_users]))
        mean_RD, ids_BD = map_rows(self.node_ND, mean, ids)
        user_BD, item_RD = mean_RD.split([len(batch.users), len(items)])
        views = {m: layer(self.content[m].index_select(0, items)) for m, layer in self.projections.items()}
        final_BD = (user_BD, *take(self._fused(item_RD, views), place).chunk(2))
        penalty = square_penalty(*ids_BD.chunk(3), configured_size=len(batch.users))
        return {"bpr": bpr(*final_BD), "reg": self.reg * penalty}

    def embeddings(self) -> Embeddings:
        """Users, and items with their content."""
        mean_ND = layer_mean(self.graph.all, self.node_ND, self.num_layers)
        views = {m: layer(self.content[m]) for m, layer in self.projections.items()}
        return Embeddings(mean_ND[: self.num_users], self._fused(mean_ND[self.num_users :], views))

    def _fused(self, item_RD: Tensor, views: Mapping[str, Tensor]) -> Tensor:
        content = list(views.values())
        if self.weighting == "alpha":
            share = self.share_1.sigmoid()
            return self.fuse([share * item_RD, *((1 - share) * view_RD for view_RD in content)])
        if self.weighting == "normalized":
            return self.fuse([len(content) * unit_rows(item_RD), *map(unit_rows, content)])
        return self.fuse([item_RD, content[0] if len(content) == 1 else self.fuse_content(content)])
