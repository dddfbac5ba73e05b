"""DualGNN: users weigh modalities, and users who share items pass their preferences on."""

import numpy as np
from torch import Tensor

from trustmm.backbone.user_graph import UserGraphModel
from trustmm.dataset.data import TrainData
from trustmm.graph.neighbours import NeighbourSearch
from trustmm.options.checks import Count, NonNegative


class DualGNN(UserGraphModel):
    r"""Dual graph neural network (Wang et al., TMM 2021, https://doi.org/10.1109/TMM.2021.3138298).

    .. math::
        y_m &= x_m + S x_m + S^2 x_m, \qquad
        x_m = \operatorname{norm}\bigl([P_m ; W'_m \phi(W_m X_m + b_m) + b'_m]\bigr), \\
        g_u &= \textstyle\sum_m a_{um} y_{m,u}, \qquad
        s_{ui} = \Bigl\langle g_u + \textstyle\sum_v s_{uv} g_v, \sum_m y_{m,i} \Bigr\rangle

    with :math:`\phi` a leaky ReLU and :math:`s_{uv}` the softmax of the numbers of common training items over the
    user's k best partners. The weights of the items, b, enter the penalty alone.

    Deviations of the reference, as options: `in_place_sum` (it adds the modalities up within the first one's table, so
    that users weigh that sum in its place) and `pad_users`. The logarithm of its loss has base 2, here too.
    Not here, since the reference builds but never uses it: edges of items that lose a modality at random.

    Args:
        train: messages over its propagation edges; at least one modality, not trained. With one modality a and b fall
            away.
        rng: stream for the initial weights.
        neighbours: keeps the user graph.
        embedding_dim: width of a tower.
        k_users: partners of a user.
        pad_users: fill short lists of partners by random repeats, drawn each epoch; evaluation never does.
        in_place_sum: let users weigh the sum of all modalities in place of the first.
        reg: weight of the mean squares.
    """

    def __init__(
        self,
        train: TrainData,
        *,
        rng: np.random.Generator,
        neighbours: NeighbourSearch,
        embedding_dim: Count,
        k_users: Count,
        pad_users: bool,
        in_place_sum: bool,
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
        self.in_place_sum = in_place_sum
        self.add_weights("item", train.num_items, rng)

    def fused(self, users: list[Tensor], items: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Weighed sums of the users' rows, sums of the items'."""
        if self.in_place_sum:
            users = [sum(users[1:], users[0]), *users[1:]]
        first, *others = self.weighed(users)
        return sum(others, first), sum(items[1:], items[0])
