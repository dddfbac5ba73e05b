"""MVGAE: variational graph autoencoders of content and behaviour, joined as a product of experts."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trustmm.backbone.base import Backbone, Batch, Embeddings
from trustmm.backbone.content import Content
from trustmm.backbone.initialise import linear, xavier_normal
from trustmm.dataset.data import TrainData
from trustmm.graph.bipartite import row_mean_operator
from trustmm.graph.dense import all_inner_products
from trustmm.graph.neighbours import NeighbourSearch, unit_rows
from trustmm.graph.rows import take
from trustmm.graph.sparse import SparseMatrix
from trustmm.options.checks import Count, NonNegative, Share

# Shapes: those of `base`; C latent width of a tower's input, R distinct nodes of a batch, J distinct negatives.

LARGEST_LOG_VARIANCE = 10.0
NOISE = 0.1
"""Share of the deviation with which a node is sampled."""
COLLABORATIVE, JOINT = "collaborative", "joint"


class Gaussians(NamedTuple):
    """Means and log variances of all nodes, (N, D) each."""

    mean: Tensor
    log_variance: Tensor


class MVGAE(Backbone):
    r"""Multi-modal variational graph autoencoder (Yi & Chen, TMM 2021, https://doi.org/10.1109/TMM.2021.3111487).

    Each modality, and a table C in place of features, is a view with a graph encoder of its own:

    .. math::
        x &= \operatorname{norm}[P; W X + b], \qquad \operatorname{conv}_k(x) = \operatorname{dropout}\bigl(
            \operatorname{norm}(S' x A_k + a_k)\bigr), \qquad x \leftarrow \phi\bigl(V_k \phi(\operatorname{conv}_k(x))
            + v_k\bigr) \text{ for } k = 1..n, \\
        \mu &= V_4 \phi(\operatorname{conv}_4(x)) + v_4 + \phi(L_4 x + l_4), \qquad
            \log \sigma^2 = \text{the same with index 5},

    with S' the mean over a node and its neighbours and :math:`\phi` the leaky ReLU. The product of the experts of
    content, and of that with the collaborative one, is the joint view; :math:`s_{ui} = \langle \sigma(\mu_u),
    \sigma(\mu_i) \rangle` with its means. The loss sums over the joint view and all others

    .. math::
        -\textstyle\sum_{(u, i)} \log_2 \sigma\bigl(\sigma \langle y_u, y_i \rangle - \sigma \max_j \langle y_u, y_j
        \rangle\bigr) + \beta \operatorname{KL}, \qquad y = \sigma(\mu + 0.1 \, \epsilon \, e^{\log \sigma^2 / 2}),

    j over all negatives of the batch. Modalities are fixed features.

    Deviations: the public reference looks items up among the users, which makes its results meaningless; here items are
    items. It never trains P and C: `trainable_tables` false.

    Args:
        train: messages over its propagation edges; at least one modality; features are not trained.
        rng: stream for the initial weights.
        neighbours: unused, this model has no item graph.
        embedding_dim: width D.
        latent_dim: width C.
        num_layers: blocks n before the means.
        dropout: of every block.
        beta: weight of the divergence from the standard normal.
        trainable_tables: train the preferences P and the table C.
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
        latent_dim: Count,
        num_layers: Count,
        dropout: Share,
        beta: NonNegative,
        trainable_tables: bool,
    ) -> None:
        super().__init__()
        self.num_users, self.dropout, self.beta = train.num_users, dropout, beta
        self.operator = row_mean_operator(train.propagation)
        self.content = Content(train.features)
        self.item_ID = nn.Parameter(xavier_normal((train.num_items, embedding_dim), rng), trainable_tables)
        widths = {m: train.features[m].shape[1] for m in sorted(train.features)} | {COLLABORATIVE: embedding_dim}
        self.towers = nn.ModuleDict(
            {
                view: _Tower(train.num_users, width, latent_dim, embedding_dim, num_layers, rng, trainable_tables)
                for view, width in widths.items()
            }
        )

    @classmethod
    def check_fit(cls, modalities: Sequence[str], **options: Any) -> None:
        """No modality with the name of a view."""
        taken = {COLLABORATIVE, JOINT}.intersection(modalities)
        if taken:
            raise ValueError(f"with backbone=mvgae a modality must not be called {taken.pop()!r}; rename it")

    def loss_terms(self, batch: Batch) -> Mapping[str, Tensor]:
        """Reconstruction and divergence of every view."""
        views = self._views()
        index = batch.nodes(self.num_users)
        nodes, place = index.unique(return_inverse=True)
        reconstruction = [self._reconstruction(name, view, nodes, place) for name, view in views.items()]
        divergence = [_divergence(view) for view in views.values()]
        return {
            "reconstruction": torch.stack(reconstruction).sum(),
            "kl": self.beta * torch.stack(divergence).sum(),
        }

    def embeddings(self) -> Embeddings:
        """The logistic function of the joint means."""
        final_ND = self._views()[JOINT].mean.sigmoid()
        return Embeddings.of_nodes(final_ND, self.num_users)

    def _views(self) -> dict[str, Gaussians]:
        """Gaussians of every view, and of the joint one."""
        views = {}
        for name, tower in self.towers.items():

            def drop(block: str, x: Tensor, name: str = name) -> Tensor:
                return self.drop(f"keep_{name}_{block}", x, self.dropout)

            views[name] = tower(self.item_ID if name == COLLABORATIVE else self.content[name], self.operator, drop)
        content = _product([view for name, view in views.items() if name != COLLABORATIVE])
        return views | {JOINT: _product([content, views[COLLABORATIVE]])}

    def _reconstruction(self, name: str, view: Gaussians, nodes: Tensor, place: Tensor) -> Tensor:
        """Positives against the hardest negative of the batch, by a sample of the nodes (R,); a sum over the batch."""
        mean_RD, log_variance_RD = take(view.mean, nodes), take(view.log_variance, nodes)
        noise_RD = self.draws.normal(f"noise_{name}", tuple(mean_RD.shape), nodes).to(mean_RD)
        spread_RD = (log_variance_RD.clamp(max=LARGEST_LOG_VARIANCE) / 2).exp()
        y_RD = (mean_RD + NOISE * noise_RD * spread_RD).sigmoid()
        user_B, positive_B, negative_B = place.chunk(3)
        negative_J = negative_B.unique()
        with torch.no_grad():
            hardest_B = negative_J[all_inner_products(y_RD[user_B], y_RD[negative_J]).argmax(dim=1)]
        user_BD, positive_BD, hardest_BD = take(y_RD, torch.cat([user_B, positive_B, hardest_B])).chunk(3)
        gap_B = (user_BD * positive_BD).sum(1).sigmoid() - (user_BD * hardest_BD).sum(1).sigmoid()
        return -F.logsigmoid(gap_B).sum() / math.log(2)


class _Tower(nn.Module):
    """The encoder of one view: its preferences P, its projection W, and its blocks."""

    def __init__(
        self, num_users: int, inputs: int, latent: int, width: int, depth: int, rng: np.random.Generator, trains: bool
    ) -> None:
        super().__init__()
        self.depth = depth
        self.preference_UC = nn.Parameter(xavier_normal((num_users, latent), rng), trains)
        self.projection = linear(inputs, latent, rng, weight=xavier_normal)
        inner = [str(block) for block in range(1, depth + 1)]
        widths = dict.fromkeys([*inner, "mean", "log_variance"], width) | {"1": latent}
        self.convolutions = nn.ModuleDict({k: linear(w, width, rng, weight=xavier_normal) for k, w in widths.items()})
        later = inner[1:]
        self.mixes = nn.ModuleDict(
            {k: linear(width, width, rng, weight=None if k in later else xavier_normal) for k in widths}
        )
        self.skips = nn.ModuleDict(
            {k: linear(width, width, rng, weight=xavier_normal) for k in widths if k not in inner}
        )

    def forward(self, content_IX: Tensor, operator: SparseMatrix, drop: Callable[[str, Tensor], Tensor]) -> Gaussians:
        """Means and log variances of all nodes."""
        x_NC = unit_rows(torch.cat([self.preference_UC, self.projection(content_IX)]))

        def block(name: str, x: Tensor) -> Tensor:
            """Rows of the operator sum to 1, so the bias may come before it."""
            return self.mixes[name](F.leaky_relu(drop(name, unit_rows(operator @ self.convolutions[name](x)))))

        for number in range(1, self.depth + 1):
            x_NC = F.leaky_relu(block(str(number), x_NC))
        return Gaussians(*(block(k, x_NC) + F.leaky_relu(skip(x_NC)) for k, skip in self.skips.items()))


def _product(experts: list[Gaussians]) -> Gaussians:
    """The product of Gaussians, weighted by precision."""
    precision = torch.stack([1 / (expert.log_variance.exp() + 1e-8) for expert in experts])
    total_ND = precision.sum(dim=0)
    mean_ND = (precision * torch.stack([expert.mean for expert in experts])).sum(dim=0) / total_ND
    return Gaussians(mean_ND, -total_ND.log())


def _divergence(view: Gaussians) -> Tensor:
    """From the standard normal, the mean over nodes of the sum over the width."""
    log_variance_ND = view.log_variance.clamp(max=LARGEST_LOG_VARIANCE)
    return -0.5 * (1 + log_variance_ND - view.mean.square() - log_variance_ND.exp()).sum(dim=1).mean()
