"""LGMRec: local graphs of ids and content, and global hypergraphs whose edges content draws."""

import itertools
from collections.abc import Mapping
from typing import Annotated

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trustmm.backbone.base import Backbone, Batch, Embeddings
from trustmm.backbone.content import Content, node_table
from trustmm.backbone.initialise import xavier_uniform
from trustmm.backbone.losses import bpr, norm_penalty, table_contrast
from trustmm.dataset.data import TrainData
from trustmm.graph.bipartite import bipartite_operator, incidence, layer_mean
from trustmm.graph.neighbours import NeighbourSearch
from trustmm.graph.rows import ProductRows, map_rows, take
from trustmm.graph.sparse import power_product
from trustmm.options.checks import Count, NonNegative, Positive, Within

# Shapes: those of `base`; M modalities, H hyperedges.


class LGMRec(Backbone):
    r"""Local and global graph learning (Guo et al., AAAI 2024, https://arxiv.org/abs/2312.16400).

    .. math::
        z = c + \textstyle\sum_m \operatorname{norm}(r_m) + \alpha \operatorname{norm}\bigl(\sum_m q_m\bigr), \qquad
        s_{ui} = \langle z_u, z_i \rangle

    with c the LightGCN mean of the ids and :math:`r_m = S^n [\bar f_m ; f_m]` of projected features
    :math:`f_m = X_m W_m` (a user starts at the mean of the items). Items belong to H hyperedges by
    :math:`A_m = \operatorname{softmax}((X_m V_m + G) / \tau)`, users by :math:`B_m`, the same of
    :math:`R X_m V_m`, with Gumbel noise G; :math:`q_m = [B_m A_m^\top y ; A_m A_m^\top y]` of the items' c, repeated
    for y. Hypergraphs are products of thin matrices, never I x I. Training drops entries of A and B, and contrasts the
    q of each two modalities, `visual` (the others by name) before its successors, against all users and all items.

    Deviations: the contrast is a sum over the batch and the norm penalty is not squared, as in the public reference.
    That reference draws noise when it ranks, too, so that its scores are random: `noisy_ranking`.

    Args:
        train: messages over its propagation edges; at least one modality, not trained. One alone has no contrast.
        rng: stream for the initial weights.
        neighbours: unused, this model's item graphs are learned.
        embedding_dim: width D.
        num_layers: depth of the ids' propagation.
        num_content_layers: depth n of the content's.
        num_hyperedges: H.
        num_hyper_layers: propagations over the hypergraphs.
        keep: share of the entries of A and B that a training step keeps.
        alpha: weight of the hypergraphs.
        temperature: tau, of the noise and of the contrast.
        cl: weight of the contrast.
        reg: weight of the norm penalty.
        noisy_ranking: draw noise in evaluation, too.
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
        num_content_layers: Count,
        num_hyperedges: Count,
        num_hyper_layers: Count,
        keep: Annotated[float, Within("(0, 1]")],
        alpha: NonNegative,
        temperature: Positive,
        cl: NonNegative,
        reg: NonNegative,
        noisy_ranking: bool,
    ) -> None:
        super().__init__()
        self.num_users, self.num_layers, self.num_content_layers = train.num_users, num_layers, num_content_layers
        self.num_hyper_layers, self.dropout, self.alpha = num_hyper_layers, 1 - keep, alpha
        self.temperature, self.cl, self.reg, self.noisy_ranking = temperature, cl, reg, noisy_ranking
        self.node_ND = node_table(train, embedding_dim, rng)
        self.content = Content(train.features)
        self.projections, self.hyperedges = nn.ParameterDict(), nn.ParameterDict()
        for name, width in self.content.widths.items():
            self.projections[name] = nn.Parameter(xavier_uniform((width, embedding_dim), rng))
            self.hyperedges[name] = nn.Parameter(xavier_uniform((width, num_hyperedges), rng))
        self.operator, self.incidence = bipartite_operator(train.propagation), incidence(train.propagation)
        degree_U = torch.from_numpy(train.propagation.user_degree).clamp_min(1).float()
        self.register_buffer("degree_U", degree_U, persistent=False)

    degree_U: Tensor

    def loss_terms(self, batch: Batch) -> Mapping[str, Tensor]:
        """BPR, the contrast of modalities, and the norm penalty."""
        index = batch.nodes(self.num_users)
        mean_ND = layer_mean(self.operator, self.node_ND, self.num_layers)
        hyper = self._hypergraphs(mean_ND[self.num_users :])
        spread = ProductRows(self.operator, index, depth=self.num_content_layers)
        rows_BX = map_rows(self._content(), spread)[0]
        final_BD = self._final(take(mean_ND, index), rows_BX, take(torch.stack(hyper).sum(dim=0), index)).chunk(3)
        return {
            "bpr": bpr(*final_BD),
            "contrast": self.cl * self._contrast(hyper, batch),
            "reg": self.reg * norm_penalty(*final_BD),
        }

    def embeddings(self) -> Embeddings:
        """Ids, content and hypergraphs, added up."""
        mean_ND = layer_mean(self.operator, self.node_ND, self.num_layers)
        spread_NX = power_product(self.operator, self._content(), self.num_content_layers)
        hyper_ND = torch.stack(self._hypergraphs(mean_ND[self.num_users :])).sum(dim=0)
        final_ND = self._final(mean_ND, spread_NX, hyper_ND)
        return Embeddings.of_nodes(final_ND, self.num_users)

    def _final(self, mean_RD: Tensor, content_RX: Tensor, hyper_RD: Tensor) -> Tensor:
        views = content_RX.split(mean_RD.shape[1], dim=1)
        return (
            mean_RD + torch.stack([F.normalize(r_RD) for r_RD in views]).sum(dim=0) + self.alpha * F.normalize(hyper_RD)
        )

    def _content(self) -> Tensor:
        """Where the content starts, modalities side by side, (N, M D): users at the mean of their items."""
        item_IX = torch.cat([self.content[name] @ self.projections[name] for name in self.content.widths], dim=1)
        return torch.cat([self.incidence @ item_IX / self.degree_U[:, None], item_IX])

    def _hypergraphs(self, item_ID: Tensor) -> list[Tensor]:
        """What the hypergraph of each modality adds, q, (N, D)."""
        found = []
        for name in self.content.widths:
            logits_IH = self.content[name] @ self.hyperedges[name]
            member_UH = self._membership(f"user_{name}", self.incidence @ logits_IH)
            member_IH, layer_ID = self._membership(f"item_{name}", logits_IH), item_ID
            for _ in range(self.num_hyper_layers):
                edge_HD = member_IH.T @ layer_ID
                layer_ID = member_IH @ edge_HD
            found.append(torch.cat([member_UH @ edge_HD, layer_ID]))
        return found

    def _membership(self, name: str, logits_RH: Tensor) -> Tensor:
        """How much each row belongs to each hyperedge, (R, H); entries are dropped in training."""
        if self.training or self.noisy_ranking:
            logits_RH = logits_RH + self.draws.gumbel(f"gumbel_{name}", tuple(logits_RH.shape)).to(logits_RH)
        return self.drop(f"keep_{name}", (logits_RH / self.temperature).softmax(dim=1), self.dropout)

    def _contrast(self, hyper: list[Tensor], batch: Batch) -> Tensor:
        """Sum over the pairs of modalities, and over the batch's users and positives."""
        total = hyper[0].new_zeros(())
        for nodes, first, last in (
            (batch.users, 0, self.num_users),
            (batch.positives, self.num_users, len(self.node_ND)),
        ):
            own, counts = nodes.unique(return_counts=True)
            units = [F.normalize(q_ND[first:last]) for q_ND in hyper]
            for view_RD, other_RD in itertools.combinations(units, 2):
                total = total + table_contrast(take(view_RD, own), other_RD, own, counts, temperature=self.temperature)
        return total
