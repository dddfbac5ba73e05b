"""MMGCN: one graph network for each modality, tied by the ids."""

from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trustmm.backbone.base import Backbone, Batch, Embeddings
from trustmm.backbone.content import in_order
from trustmm.backbone.initialise import linear, xavier_normal
from trustmm.backbone.losses import bpr, pair_squares
from trustmm.dataset.data import TrainData
from trustmm.graph.bipartite import neighbour_mean_operator
from trustmm.graph.neighbours import NeighbourSearch, unit_rows
from trustmm.graph.rows import take
from trustmm.graph.sparse import SparseMatrix
from trustmm.options.checks import Count, NonNegative

# Shapes: those of `base`; C columns of a modality.


class Block(nn.Module):
    r"""One convolution: :math:`\phi(V [\phi(N x A) ; \phi(L x + l) + J] + v)`, with N the mean over neighbours.

    Args:
        width: columns of the input.
        embedding_dim: D, columns of the ids and of the output.
        rng: stream for the initial weights, Xavier-normal but for the biases and, in later blocks, V.
        first: whether this is the first block.
    """

    def __init__(self, width: int, embedding_dim: int, *, rng: np.random.Generator, first: bool) -> None:
        super().__init__()
        self.mix_CC = nn.Parameter(xavier_normal((width, width), rng))
        self.own = linear(width, embedding_dim, rng, weight=xavier_normal)
        self.output = linear(width + embedding_dim, embedding_dim, rng, weight=xavier_normal if first else None)

    def forward(self, x_NC: Tensor, operator: SparseMatrix, id_ND: Tensor) -> Tensor:
        """Rows of the next layer, (N, D)."""
        near_NC = F.leaky_relu(operator @ (x_NC @ self.mix_CC))
        own_ND = F.leaky_relu(self.own(x_NC)) + id_ND
        return F.leaky_relu(self.output(torch.cat([near_NC, own_ND], dim=1)))


class Network(nn.Module):
    """Preferences beside content, and the blocks, of one modality.

    Args:
        content_IX: features, not trained.
        num_users: U.
        project_to: width of a projection of the features; None takes them as they are.
        embedding_dim: D.
        num_layers: blocks.
        rng: stream for the initial weights.
    """

    content_IX: Tensor

    def __init__(
        self,
        content_IX: np.ndarray,
        *,
        num_users: int,
        project_to: int | None,
        embedding_dim: int,
        num_layers: int,
        rng: np.random.Generator,
    ) -> None:
        super().__init__()
        given = content_IX.shape[1]
        width = given if project_to is None else project_to
        self.register_buffer("content_IX", torch.from_numpy(content_IX), persistent=False)
        self.preference_UC = nn.Parameter(xavier_normal((num_users, width), rng))
        self.projection = None if project_to is None else linear(given, width, rng)
        widths = [width, *[embedding_dim] * (num_layers - 1)]
        self.blocks = nn.ModuleList(
            Block(inputs, embedding_dim, rng=rng, first=place == 0) for place, inputs in enumerate(widths)
        )

    def forward(self, operator: SparseMatrix, id_ND: Tensor) -> Tensor:
        """Rows of all nodes, (N, D)."""
        content_IC = self.content_IX if self.projection is None else self.projection(self.content_IX)
        x_NC = unit_rows(torch.cat([self.preference_UC, content_IC]))
        for block in self.blocks:
            x_NC = block(x_NC, operator, id_ND)
        return x_NC


class MMGCN(Backbone):
    r"""Multi-modal graph convolution (Wei et al., MM 2019, https://doi.org/10.1145/3343031.3351034).

    .. math::
        x_m^{(0)} = \operatorname{norm}([P_m ; W_m X_m + b_m]), \qquad
        x_m^{(k)} = \phi\bigl(V_k [\phi(N x_m^{(k-1)} A_k) ; \phi(L_k x_m^{(k-1)} + l_k) + J] + v_k\bigr), \qquad
        z = \tfrac{1}{M} \textstyle\sum_m x_m^{(K)}

    with N the mean over neighbours, :math:`\phi` a leaky ReLU and J ids that all modalities share; the score is
    :math:`\langle z_u, z_i \rangle`. Of the modalities only `visual` (without it the first by name) is projected,
    and it alone has its preferences penalised; others enter as they are, unless they are wider than `widest_raw`.

    Deviations: that projection and that penalty are the public reference's. There the ids and the preferences are
    never trained, `train_ids` false; it also has always three layers.

    Args:
        train: messages over its propagation edges; at least one modality, not trained.
        rng: stream for the initial weights.
        neighbours: unused, this model has no item graph.
        embedding_dim: width D of the ids and of every layer.
        projected_dim: width of a projection.
        widest_raw: features with more columns are projected, whichever modality they are.
        num_layers: K.
        train_ids: train the ids and the preferences.
        reg: weight of the mean squares.
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
        projected_dim: Count,
        widest_raw: Count,
        num_layers: Count,
        train_ids: bool,
        reg: NonNegative,
    ) -> None:
        super().__init__()
        self.num_users, self.reg = train.num_users, reg
        self.operator = neighbour_mean_operator(train.propagation)
        num_nodes = train.num_users + train.num_items
        self.node_ND = nn.Parameter(xavier_normal((num_nodes, embedding_dim), rng), requires_grad=train_ids)
        self.networks = nn.ModuleDict()
        for place, name in enumerate(in_order(train.features)):
            matrix = train.features[name]
            network = Network(
                matrix,
                num_users=train.num_users,
                project_to=projected_dim if place == 0 or matrix.shape[1] > widest_raw else None,
                embedding_dim=embedding_dim,
                num_layers=num_layers,
                rng=rng,
            )
            network.preference_UC.requires_grad_(train_ids)
            self.networks[name] = network

    def loss_terms(self, batch: Batch) -> Mapping[str, Tensor]:
        """BPR, and the mean squares of the batch's ids and of the first modality's preferences."""
        index = batch.nodes(self.num_users)
        ids = pair_squares(*take(self.node_ND, index).chunk(3))
        first_UC = next(iter(self.networks.values())).get_parameter("preference_UC")
        penalty = ids + first_UC.square().mean()
        return {"bpr": bpr(*take(self._final(), index).chunk(3)), "reg": self.reg * penalty}

    def embeddings(self) -> Embeddings:
        """Means over the modalities."""
        final_ND = self._final()
        return Embeddings.of_nodes(final_ND, self.num_users)

    def _final(self) -> Tensor:
        views = [network(self.operator, self.node_ND) for network in self.networks.children()]
        return torch.stack(views).mean(dim=0)
