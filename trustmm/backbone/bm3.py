"""BM3: bootstrapped views of ids and content, without negatives and without a second encoder."""

from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from trustmm.backbone.base import Backbone, Batch, Embeddings
from trustmm.backbone.content import feature_projections, feature_tables, node_table
from trustmm.backbone.initialise import linear, xavier_normal
from trustmm.backbone.losses import norm_penalty
from trustmm.dataset.data import TrainData
from trustmm.graph.bipartite import bipartite_operator, layer_mean
from trustmm.graph.neighbours import NeighbourSearch
from trustmm.graph.rows import take
from trustmm.options.checks import Count, NonNegative, Share


class BM3(Backbone):
    r"""Bootstrapped multimodal model (Zhou et al., WWW 2023, https://arxiv.org/abs/2207.05969).

    .. math::
        h_u &= Z_u, \quad h_i = Z_i + E_i, \quad t_m = W_m X_m + b_m, \quad \operatorname{pred}(x) = Q x + q, \quad
        \bar x = \operatorname{dropout}(x) \text{ without gradient}, \\
        L &= C(\operatorname{pred} h_u, \bar h_i) + C(\operatorname{pred} h_i, \bar h_u) + \mathrm{cl} \textstyle\sum_m
        \bigl[C(\operatorname{pred} t_m, \bar h_i) + C(\operatorname{pred} t_m, \bar t_m)\bigr]
        + \mathrm{reg} \, (\|h_U\|_F + \|h_I\|_F) / I, \\
        s_{ui} &= \langle \operatorname{pred} h_u, \operatorname{pred} h_i \rangle

    with Z the LightGCN mean of E, and C one minus the mean cosine over a batch's positive pairs.

    Deviations: the penalty takes the Frobenius norms of the whole tables, not squared, over the number of items, as in
    the public reference, where the paper has an L2 norm of the embeddings. Features are trainable, as in the public
    reference, unless `trainable_features` is false. Only a batch's rows of content are projected and masked: a dropout
    of the whole tables with the same law.

    Args:
        train: messages over its propagation edges; at least one modality.
        rng: stream for the initial weights: Xavier-uniform E, Xavier-normal W and Q.
        neighbours: unused, this model has no item graph.
        embedding_dim: width D.
        num_layers: depth of the user-item propagation.
        dropout: of the targets.
        cl: weight of the content terms.
        reg: weight of the penalty.
        trainable_features: treat the features as parameters that start at the input.
    """

    needs_features = True
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
        cl: NonNegative,
        reg: NonNegative,
        trainable_features: bool,
    ) -> None:
        super().__init__()
        self.num_users, self.num_layers = train.num_users, num_layers
        self.dropout, self.cl, self.reg = dropout, cl, reg
        self.operator = bipartite_operator(train.propagation)
        self.node_ND = node_table(train, embedding_dim, rng)
        self.features = feature_tables(train, trainable=trainable_features, by_rows=True)
        self.projections = feature_projections(train, embedding_dim, rng, weight=xavier_normal)
        self.predictor = linear(embedding_dim, embedding_dim, rng, weight=xavier_normal)

    def loss_terms(self, batch: Batch) -> Mapping[str, Tensor]:
        """Users with items, content with items and with itself, and the penalty; each distinct row is computed once."""
        users, user_place = batch.users.unique(return_inverse=True)
        items, item_place = batch.positives.unique(return_inverse=True)
        user_UD, item_ID = self._nodes()
        user_RD, item_RD = take(user_UD, users), take(item_ID, items)
        target_user_BD = take(self._target("user", user_RD, users), user_place)
        target_item_BD = take(self._target("item", item_RD, items), item_place)
        pairs = [
            _distance(take(self.predictor(user_RD), user_place), target_item_BD),
            _distance(take(self.predictor(item_RD), item_place), target_user_BD),
        ]
        content = []
        for name, features in self.features.items():
            view_RD = self.projections[name](take(features, items))
            online_BD = take(self.predictor(view_RD), item_place)
            target_BD = take(self._target(name, view_RD, items), item_place)
            content += [_distance(online_BD, target_item_BD), _distance(online_BD, target_BD)]
        return {
            "pairs": torch.stack(pairs).sum(),
            "content": self.cl * torch.stack(content).sum(),
            "reg": self.reg * norm_penalty(item_ID, user_UD),
        }

    def embeddings(self) -> Embeddings:
        """Predicted users and items."""
        user_UD, item_ID = self._nodes()
        return Embeddings(self.predictor(user_UD), self.predictor(item_ID))

    def _nodes(self) -> tuple[Tensor, Tensor]:
        """H of all users and of all items."""
        mean_ND = layer_mean(self.operator, self.node_ND, self.num_layers)
        return mean_ND[: self.num_users], mean_ND[self.num_users :] + self.node_ND[self.num_users :]

    def _target(self, name: str, x_RD: Tensor, rows: Tensor) -> Tensor:
        return self.drop(f"keep_{name}", x_RD.detach(), self.dropout, rows)


def _distance(online_BD: Tensor, target_BD: Tensor) -> Tensor:
    """One minus the mean cosine; a zero row has cosine 0."""
    return 1 - F.cosine_similarity(online_BD, target_BD).mean()
