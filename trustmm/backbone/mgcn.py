"""MGCN: content gated by behaviour, views fused by attention, and a contrast between views and behaviour."""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trustmm.backbone.initialise import linear
from trustmm.backbone.side_information import SideInformation
from trustmm.dataset.data import TrainData
from trustmm.graph.neighbours import NeighbourSearch
from trustmm.graph.sparse import power_product
from trustmm.options.checks import Count, NonNegative, Positive

# Shapes: those of `side_information`; M modalities.


class MGCN(SideInformation):
    r"""Multi-view graph convolution (Yu et al., MM 2023, https://arxiv.org/abs/2308.03588).

    .. math::
        y_m &= G_m^n \bigl(E_i \odot \sigma(V_m (W_m X_m + b_m) + c_m)\bigr), \qquad e_m = [\hat R y_m ; y_m], \\
        a &= \operatorname{softmax}_m\bigl(w^\top \tanh(Q e_m + q)\bigr), \qquad \bar e = \textstyle\sum_m a_m e_m, \\
        \mathrm{side} &= \tfrac{1}{M + 1}
        \Bigl(\bar e + \textstyle\sum_m \sigma(P_m Z + p_m) \odot (e_m - \bar e)\Bigr), \qquad
        s_{ui} = \langle (Z + \mathrm{side})_u, (Z + \mathrm{side})_i \rangle

    with Z the LightGCN mean, :math:`G_m` the normalised cosine graph of the input features and :math:`\hat R` the
    user-item block of the normalised adjacency. The contrast pulls side to Z for the batch's users and positives.

    Deviations: features are trainable, as in the public reference, unless `trainable_features` is false.

    Args:
        train: messages over its propagation edges; at least one modality.
        rng: stream for the initial weights.
        neighbours: search for the item graphs, built once from the input features.
        embedding_dim: width D of everything.
        num_layers: depth of the user-item propagation.
        num_item_layers: depth n of the item-graph propagation.
        k: neighbours of an item in each modality.
        cl: weight of the contrast.
        temperature: of the contrast.
        reg: weight of the squared norms of the batch's final rows.
        trainable_features: treat the features as parameters that start at the input.
    """

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
        cl: NonNegative,
        temperature: Positive,
        reg: NonNegative,
        trainable_features: bool,
    ) -> None:
        super().__init__(
            train,
            rng=rng,
            neighbours=neighbours,
            embedding_dim=embedding_dim,
            num_layers=num_layers,
            k_of=dict.fromkeys(train.features, k),
            cl=cl,
            temperature=temperature,
            reg=reg,
            trainable_features=trainable_features,
        )
        self.num_item_layers = num_item_layers
        self.gates = nn.ModuleDict({m: linear(embedding_dim, embedding_dim, rng) for m in self.features})
        self.preferences = nn.ModuleDict({m: linear(embedding_dim, embedding_dim, rng) for m in self.features})
        self.attention = nn.Sequential(
            linear(embedding_dim, embedding_dim, rng), nn.Tanh(), linear(embedding_dim, 1, rng, bias=False)
        )

    def item_views(self) -> list[Tensor]:
        """Items gated by content and carried over their modality's graph, (I, D) for each modality."""
        id_ID, views = self.node_ND[self.num_users :], []
        for name, features in self.features.items():
            gated_ID = id_ID * torch.sigmoid(_composed(self.projections[name], self.gates[name], features))
            views.append(power_product(self.item_graphs[name], gated_ID, self.num_item_layers))
        return views

    def side(self, mean_RD: Tensor, views: Sequence[Tensor]) -> Tensor:
        """What is common to the views and, as far as the collaborative rows prefer it, what is not."""
        share_RM = torch.cat([self.attention(view_RD) for view_RD in views], dim=1).softmax(dim=1)
        common_RD = torch.stack([share * view for share, view in zip(share_RM.split(1, 1), views, strict=True)]).sum(0)
        side_RD = common_RD
        for prefer, view_RD in zip(self.preferences.values(), views, strict=True):
            side_RD = side_RD + torch.sigmoid(prefer(mean_RD)) * (view_RD - common_RD)
        return side_RD / (len(views) + 1)


def _composed(first: nn.Module, second: nn.Module, rows: Tensor) -> Tensor:
    """second(first(rows)) of two linear layers, with one product of all rows instead of two."""
    assert isinstance(first, nn.Linear)
    assert isinstance(second, nn.Linear)
    weight = second.weight @ first.weight
    return F.linear(rows, weight, second(first.bias))
