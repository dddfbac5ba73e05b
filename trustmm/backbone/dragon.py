"""DRAGON: modalities side by side, an item graph from content and a user graph from common items."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trustmm.backbone.freedom import frozen_item_graph, modality_weights
from trustmm.backbone.user_graph import UserGraphModel
from trustmm.dataset.data import TrainData
from trustmm.graph.neighbours import NeighbourSearch
from trustmm.graph.sparse import power_product
from trustmm.options.checks import Count, NonNegative


class DRAGON(UserGraphModel):
    r"""Dyadic relations and homogeneous graphs (Zhou et al., ECAI 2023, https://arxiv.org/abs/2301.12097).

    .. math::
        g_u = [a_{um} y_{m,u}]_m, \qquad t_i = [y_{m,i}]_m, \qquad
        s_{ui} = \Bigl\langle g_u + \textstyle\sum_v s_{uv} g_v, \bigl(t + M^n t\bigr)_i \Bigr\rangle

    with DualGNN's towers :math:`y_m` and user graph, and FREEDOM's frozen item graph M. Modalities are concatenated.

    Deviation of the reference, as an option: `pad_users`. The logarithm of its loss has base 2, here too.

    Args:
        train: messages over its propagation edges; at least one modality, not trained. With one modality a falls away.
        rng: stream for the initial weights.
        neighbours: search for the item graph, built once from the input features; keeps the user graph.
        embedding_dim: width of a tower.
        num_item_layers: depth n of the item-graph propagation.
        k: neighbours of an item in each modality.
        modality_weight: w by modality name; others share what is left to 1 equally.
        k_users: partners of a user.
        pad_users: fill short lists of partners by random repeats, drawn each epoch; evaluation never does.
        reg: weight of the mean squares.
    """

    def __init__(
        self,
        train: TrainData,
        *,
        rng: np.random.Generator,
        neighbours: NeighbourSearch,
        embedding_dim: Count,
        num_item_layers: Count,
        k: Count,
        modality_weight: Mapping[str, NonNegative],
        k_users: Count,
        pad_users: bool,
        reg: NonNegative,
    ) -> None:
        super().__init__(
            train,
            rng=rng,
            neighbours=neighbours,
            embedding_dim=embedding_dim,
            k_users=k_users,
            pad_users=pad_users,
            reg=reg,
        )
        self.num_item_layers = num_item_layers
        self.item_graph = frozen_item_graph(train, modality_weight, k, neighbours)

    @classmethod
    def check_fit(cls, modalities: Sequence[str], **options: Any) -> None:
        """Weights that leave something for every modality."""
        modality_weights(modalities, options.get("modality_weight", {}))

    def fused(self, users: list[Tensor], items: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Weighed rows of the users side by side; the items' with what the item graph adds."""
        item_IX = torch.cat(items, dim=1)
        added_IX = power_product(self.item_graph, item_IX, self.num_item_layers)
        return torch.cat(self.weighed(users), dim=1), item_IX + added_IX
