"""What DualGNN and DRAGON share: a tower of preferences and content for each modality, and a graph between users."""

import math
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from trustmm.backbone.base import Backbone, Batch, Embeddings
from trustmm.backbone.content import in_order
from trustmm.backbone.initialise import linear, xavier_normal
from trustmm.backbone.losses import bpr
from trustmm.dataset.data import TrainData
from trustmm.graph.bipartite import bipartite_operator, layer_mean
from trustmm.graph.common_items import most_in_common
from trustmm.graph.neighbours import NeighbourSearch, unit_rows
from trustmm.graph.rows import take
from trustmm.graph.sparse import SparseMatrix

# Shapes: those of `base`; M modalities, C columns of a tower, K partners of a user.

NUM_STEPS = 2
"""Propagations of a tower, in both models."""


class UserGraph(nn.Module):
    """The users with the most common training items, weighted by the softmax of these counts.

    A user with fewer than k such partners has those, a user without any an empty row.

    Args:
        train: messages over its propagation edges, whose items count.
        neighbours: keeps the counts, found once for these edges.
        k: partners of a user.
        pad: fill a short list up to k by random repeats of itself, which then count again, as the public reference
            does each epoch.
    """

    def __init__(self, train: TrainData, *, neighbours: NeighbourSearch, k: int, pad: bool) -> None:
        super().__init__()
        edges = train.propagation
        size = (train.num_users, train.num_items)
        found = neighbours.once(most_in_common, left=edges.users, right=edges.items, size=size, k=k, least=1)
        self.k, self.pad, self.num_users = k, pad, train.num_users
        self.lengths, self.partner, self.count = np.diff(found["offsets"]), found["partner"], found["count"]
        self.matrix = self.training_matrix = self._weighted(np.arange(len(self.partner)), self.lengths)

    def begin_epoch(self, rng: np.random.Generator) -> None:
        """Draw the repeats: each place that is left takes any place before it."""
        if self.pad and bool((self.lengths < self.k).any()):
            first = np.cumsum(self.lengths) - self.lengths
            place = np.minimum(np.arange(self.k), np.maximum(self.lengths - 1, 0)[:, None])
            for last in range(1, self.k):
                drawn = (rng.random(self.num_users) * last).astype(np.int64)
                repeated = place[np.arange(self.num_users), drawn]
                place[:, last] = np.where(self.lengths > last, last, repeated)
            linked = self.lengths > 0
            entries, lengths = (first[:, None] + place)[linked].ravel(), np.where(linked, self.k, 0)
            self.training_matrix = self._weighted(entries, lengths).to(self.matrix.values)

    def set(self, partner_UK: Tensor, weight_UK: Tensor) -> None:
        """Partners and weights from elsewhere, for training and evaluation alike."""
        rows = torch.arange(self.num_users)[:, None].expand_as(partner_UK)
        size = (self.num_users, self.num_users)
        matrix = SparseMatrix(rows.flatten(), partner_UK.flatten(), weight_UK.flatten(), size)
        self.matrix = self.training_matrix = matrix.to(self.matrix.values)

    def _weighted(self, entries: np.ndarray, lengths: np.ndarray) -> SparseMatrix:
        """The matrix of these stored entries, `lengths` of each user; an entry that comes twice adds up."""
        users, count = np.repeat(np.arange(self.num_users), lengths), self.count[entries]
        largest = np.zeros(self.num_users, dtype=np.int64)
        np.maximum.at(largest, users, count)
        weight = np.exp((count - largest[users]).astype(np.float64))
        weight /= np.bincount(users, weights=weight, minlength=self.num_users)[users]
        rows, columns = torch.from_numpy(users), torch.from_numpy(self.partner[entries])
        return SparseMatrix(rows, columns, torch.from_numpy(weight).float(), (self.num_users, self.num_users))


class Tower(nn.Module):
    r"""One modality: :math:`x + S x + S^2 x` of :math:`x = \operatorname{norm}([P; W_2 \phi(W_1 X + b_1) + b_2])`.

    Args:
        content_IX: features, not trained.
        num_users: U.
        width: C.
        rng: stream for the initial weights.
    """

    content_IX: Tensor

    def __init__(self, content_IX: np.ndarray, *, num_users: int, width: int, rng: np.random.Generator) -> None:
        super().__init__()
        self.register_buffer("content_IX", torch.from_numpy(content_IX), persistent=False)
        self.preference_UC = nn.Parameter(xavier_normal((num_users, width), rng))
        self.hidden = linear(content_IX.shape[1], 4 * width, rng)
        self.output = linear(4 * width, width, rng)

    def forward(self, operator: SparseMatrix) -> Tensor:
        """Rows of all nodes, (N, C)."""
        content_IC = self.output(nn.functional.leaky_relu(self.hidden(self.content_IX)))
        start_NC = unit_rows(torch.cat([self.preference_UC, content_IC]))
        return (NUM_STEPS + 1) * layer_mean(operator, start_NC, NUM_STEPS)


class UserGraphModel(Backbone):
    r"""Towers :math:`y_m`, weighed by each user, and passed on between users.

    A model of this kind says how the towers become users and items, :math:`(g, z_i)`; the score is
    :math:`\langle g_u + \textstyle\sum_v s_{uv} g_v, z_i \rangle`. The loss is BPR in base 2 (the reference's
    logarithm), plus the mean squares of the batch's preferences and of the weights.

    Args:
        train: messages over its propagation edges; at least one modality, not trained.
        rng: stream for the initial weights.
        neighbours: keeps the user graph.
        embedding_dim: width C of a tower.
        k_users: partners of a user.
        pad_users: see `UserGraph`.
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
        embedding_dim: int,
        k_users: int,
        pad_users: bool,
        reg: float,
    ) -> None:
        super().__init__()
        self.num_users, self.reg = train.num_users, reg
        self.operator = bipartite_operator(train.propagation)
        self.user_graph = UserGraph(train, neighbours=neighbours, k=k_users, pad=pad_users)
        names = in_order(train.features)
        self.towers = nn.ModuleDict(
            {m: Tower(train.features[m], num_users=train.num_users, width=embedding_dim, rng=rng) for m in names}
        )
        self.weights = nn.ParameterDict()
        self.add_weights("user", train.num_users, rng)

    def add_weights(self, name: str, count: int, rng: np.random.Generator) -> None:
        """Weights of the modalities, (count, M), that start near 1 / M and are free then; a single one needs none."""
        if len(self.towers) > 1:
            self.weights[name] = nn.Parameter(xavier_normal((count, len(self.towers)), rng).softmax(dim=1))

    def fused(self, users: list[Tensor], items: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Rows of all users before they are passed on, and of all items.

        Args:
            users: rows (U, C) of every tower.
            items: rows (I, C) of every tower.
        """
        raise NotImplementedError

    def weighed(self, users: list[Tensor]) -> list[Tensor]:
        """Every tower's user rows times its weights."""
        if not len(self.weights):
            return users
        return [weight_U1 * rows for weight_U1, rows in zip(self.weights["user"].split(1, dim=1), users, strict=True)]

    def begin_epoch(self, rng: np.random.Generator) -> None:
        """Draw the padding of the user graph, where it is asked for."""
        self.user_graph.begin_epoch(rng)

    def loss_terms(self, batch: Batch) -> Mapping[str, Tensor]:
        """BPR in base 2, and the mean squares."""
        user_UX, item_IX = self._final(self.user_graph.training_matrix)
        user_BX, items = take(user_UX, batch.users), torch.cat([batch.positives, batch.negatives])
        preferences = [take(preference_UC, batch.users) for preference_UC in self._preferences()]
        squares = torch.stack([part.square().mean() for part in (*preferences, *self.weights.values())])
        bits = bpr(user_BX, *take(item_IX, items).chunk(2)) / math.log(2)
        return {"bpr": bits, "reg": self.reg * squares.sum()}

    def embeddings(self) -> Embeddings:
        """Users with what the others pass on, and items."""
        return Embeddings(*self._final(self.user_graph.matrix))

    def _preferences(self) -> list[Tensor]:
        return [tower.get_parameter("preference_UC") for tower in self.towers.values()]

    def _final(self, user_graph: SparseMatrix) -> tuple[Tensor, Tensor]:
        rows = [tower(self.operator) for tower in self.towers.values()]
        user_UX, item_IX = self.fused([y[: self.num_users] for y in rows], [y[self.num_users :] for y in rows])
        return user_UX + user_graph @ user_UX, item_IX
