"""GRCN: the user-item graph refined by how well contents and preferences agree."""

from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trustmm.backbone.base import Backbone, Batch, Embeddings
from trustmm.backbone.content import Content
from trustmm.backbone.initialise import linear, xavier_normal
from trustmm.backbone.losses import bpr, pair_squares
from trustmm.dataset.data import TrainData
from trustmm.graph.neighbours import NeighbourSearch, unit_rows
from trustmm.graph.rows import take
from trustmm.graph.segment import segment_softmax
from trustmm.graph.sparse import SparsePattern
from trustmm.options.checks import Count, NonNegative

# Shapes: those of `base`; M modalities, C columns of a modality, E interactions, A = 2 E directed edges.

NUM_STEPS = 2
"""Propagations of the ids, in the paper and the reference."""


class GRCN(Backbone):
    r"""Graph-refined convolutional network (Wei et al., MM 2020, https://arxiv.org/abs/2008.10277).

    .. math::
        f_m &= \operatorname{norm}(\phi(W_m X_m + b_m)), \qquad
        p_m \leftarrow \operatorname{norm}\Bigl(p_m + \textstyle\sum_i \operatorname{softmax}_i(p_m^\top f_{m,i})
        f_{m,i}\Bigr) \text{ from } \operatorname{norm}(P_m), \\
        a_m(s, t) &= \operatorname{softmax}_s(x_{m,s}^\top x_{m,t}), \qquad x_m = [p_m ; f_m], \qquad
        c_{m,t} = x_{m,t} + \textstyle\sum_s a_m(s, t) x_{m,s}, \\
        w(s, t) &= \operatorname{relu}\bigl(\max_m a_m(s, t) K_{s,m}\bigr), \qquad
        z = [y + W y + W^2 y ; c_1 ; \dots ; c_M], \qquad y = \operatorname{norm}(J)

    over the directed edges s to t, both directions of each interaction; :math:`\phi` is a leaky ReLU, the score
    :math:`\langle z_u, z_i \rangle`. w is a learned reliability of each interaction, see `reliability`. Everything
    lives on the edges, in O(E C) memory.

    Deviations of the public reference, as options: it sends the messages of the routing from users to items and reads
    the users', so that routing does nothing (`routing` false), and it penalises the preferences of the first modality
    (`visual` if there, else the first by name) once more, over all users (`penalise_all`).

    Args:
        train: messages over its propagation edges; at least one modality, not trained.
        rng: stream for the initial weights.
        neighbours: unused, this model has no item graph.
        embedding_dim: width D of the ids.
        content_dim: width C of each modality.
        num_routings: refinements of the preferences.
        routing: refine them at all.
        penalise_all: add the mean square of all users' preferences in the first modality.
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
        content_dim: Count,
        num_routings: Count,
        routing: bool,
        penalise_all: bool,
        reg: NonNegative,
    ) -> None:
        super().__init__()
        self.num_users, self.reg, self.penalise_all = train.num_users, reg, penalise_all
        self.num_routings = num_routings if routing else 0
        self.content = Content(train.features)
        num_nodes = train.num_users + train.num_items
        self.node_ND = nn.Parameter(xavier_normal((num_nodes, embedding_dim), rng))
        self.confidence_NM = nn.Parameter(xavier_normal((num_nodes, len(self.content.widths)), rng))
        self.preferences, self.projections = nn.ParameterDict(), nn.ModuleDict()
        for name, width in self.content.widths.items():
            self.preferences[name] = nn.Parameter(xavier_normal((train.num_users, content_dim), rng))
            self.projections[name] = linear(width, content_dim, rng, weight=xavier_normal)
        users, items = (torch.from_numpy(side) for side in (train.propagation.users, train.propagation.items))
        self.of_users = SparsePattern(users, items, (train.num_users, train.num_items))
        nodes = torch.cat([users, items + self.num_users]), torch.cat([items + self.num_users, users])
        self.edges = SparsePattern(*nodes, (num_nodes, num_nodes))

    def loss_terms(self, batch: Batch) -> Mapping[str, Tensor]:
        """BPR, and the mean squares of the batch's ids and of the preferences."""
        index = batch.nodes(self.num_users)
        ids = pair_squares(*take(self.node_ND, index).chunk(3))
        preferences = [self.preferences[name] for name in self.content.widths]
        squares = [take(preference_UC, batch.users).square().mean() for preference_UC in preferences]
        if self.penalise_all:
            squares.append(preferences[0].square().mean())
        penalty = ids + torch.stack(squares).sum()
        return {"bpr": bpr(*take(self._final(), index).chunk(3)), "reg": self.reg * penalty}

    def embeddings(self) -> Embeddings:
        """Ids over the refined graph, beside the contents."""
        final_NX = self._final()
        return Embeddings.of_nodes(final_NX, self.num_users)

    @torch.no_grad()
    def reliability(self) -> tuple[Tensor, Tensor, Tensor]:
        """Targets, sources and w of all directed edges, (A,) each; users are numbered first, then items."""
        return self.edges.rows, self.edges.columns, self._weights(*(share for share, _ in self._contents()))

    def _final(self) -> Tensor:
        shares, contents = zip(*self._contents(), strict=True)
        weight_A = self._weights(*shares)
        layer_ND = total_ND = unit_rows(self.node_ND)
        for _ in range(NUM_STEPS):
            layer_ND = self.edges.product(weight_A, layer_ND)
            total_ND = total_ND + layer_ND
        return torch.cat([total_ND, *contents], dim=1)

    def _contents(self) -> list[tuple[Tensor, Tensor]]:
        """For each modality a (A,) and c (N, C)."""
        found = []
        for name in self.content.widths:
            item_IC = unit_rows(F.leaky_relu(self.projections[name](self.content[name])))
            x_NC = torch.cat([self._routed(unit_rows(self.preferences[name]), item_IC), item_IC])
            share_A = segment_softmax(self.edges.inner_products(x_NC, x_NC), self.edges.offsets)
            found.append((share_A, x_NC + self.edges.product(share_A, x_NC)))
        return found

    def _routed(self, user_UC: Tensor, item_IC: Tensor) -> Tensor:
        """The users' preferences, drawn towards the items that agree with them most."""
        for _ in range(self.num_routings):
            share_E = segment_softmax(self.of_users.inner_products(user_UC, item_IC), self.of_users.offsets)
            user_UC = unit_rows(user_UC + self.of_users.product(share_E, item_IC))
        return user_UC

    def _weights(self, *shares: Tensor) -> Tensor:
        """w, (A,); its gradient goes to the modality that decides."""
        source_AM = take(self.confidence_NM, self.edges.columns)
        return F.relu((torch.stack(shares, dim=1) * source_AM).amax(dim=1))
