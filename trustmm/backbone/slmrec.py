"""SLMRec: one propagation for ids and each modality, and contrasts along a chain of modalities."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from trustmm.backbone.base import Backbone, Batch, Embeddings
from trustmm.backbone.content import Content, feature_projections, in_order, node_table
from trustmm.backbone.initialise import linear, xavier_uniform
from trustmm.backbone.losses import contrast, table_contrast
from trustmm.dataset.data import TrainData
from trustmm.graph.bipartite import bipartite_operator, layer_mean
from trustmm.graph.neighbours import NeighbourSearch, unit_rows
from trustmm.graph.rows import LayerMeanRows, map_rows, take
from trustmm.options.checks import Count, NonNegative, Positive

# Shapes: those of `base`; X = (M + 1) D, the id block and one for each of M modalities.


class SLMRec(Backbone):
    r"""Self-supervised multimedia recommendation (Tao et al., TMM 2022, https://doi.org/10.1109/TMM.2022.3187556).

    The task "fine and coarse". With x the row-normalised features and LGN the LightGCN mean,

    .. math::
        (u^0, i^0) = \operatorname{LGN}(E_U, E_I), \qquad (u^m, i^m) = \operatorname{LGN}(E_U, W_m x_m + b_m), \\
        z_u = F_U [u^0; u^1; \dots] + f_U, \qquad z_i = F_I [i^0; i^1; \dots] + f_I, \qquad
        s_{ui} = \langle z_u, z_i \rangle, \\
        L = \operatorname{NCE}_{\mathrm{temp}}(\hat z_u, \hat z_i) + \mathrm{ssl\_alpha} \textstyle\sum_m
            \operatorname{NCE}_{\mathrm{ssl\_temp}}(q_m, g_m(i^m))

    over a batch's positive pairs; hats are unit rows, the sum's are not normalised. The chain of queries starts at
    :math:`q_1 = g(i^0)`; each further modality maps it once more, and the last of several compares half as wide rows.
    Modalities come in the order visual, then by name: of the usual three, the paper's visual, acoustic, textual.

    Deviations: the paper has three augmentations, here is the one that the public reference can run. Its scores are the
    logistic function of these, the same ranking until it saturates. Its penalty has no effect, the weight decay 1e-4 of
    the optimiser does that.

    Args:
        train: messages over its propagation edges; at least one modality; features are not trained.
        rng: stream for the initial weights, Xavier-uniform.
        neighbours: unused, this model has no item graph.
        embedding_dim: width D.
        num_layers: depth of the user-item propagation.
        temperature: of the main loss.
        ssl_alpha: weight of the chain's contrasts.
        ssl_temperature: of the chain's contrasts.
    """

    needs_features = True
    propagates = True
    uses_negatives = False
    weight_decay = 1e-4

    def __init__(
        self,
        train: TrainData,
        *,
        rng: np.random.Generator,
        neighbours: NeighbourSearch,
        embedding_dim: Count,
        num_layers: Count,
        temperature: Positive,
        ssl_alpha: NonNegative,
        ssl_temperature: Positive,
    ) -> None:
        super().__init__()
        self.num_users, self.num_layers = train.num_users, num_layers
        self.temperature, self.ssl_alpha, self.ssl_temperature = temperature, ssl_alpha, ssl_temperature
        self.operator = bipartite_operator(train.propagation)
        self.content = Content({m: unit_rows(torch.from_numpy(x)).numpy() for m, x in train.features.items()})
        self.node_ND = node_table(train, embedding_dim, rng)
        self.projections = feature_projections(train, embedding_dim, rng, weight=xavier_uniform)
        self.chain = in_order(train.features)

        def layer(inputs: int, outputs: int) -> nn.Linear:
            return linear(inputs, outputs, rng, weight=xavier_uniform)

        width, last = (1 + len(self.chain)) * embedding_dim, max(1, embedding_dim // 2)
        self.user_fusion, self.item_fusion = layer(width, embedding_dim), layer(width, embedding_dim)
        self.query = layer(embedding_dim, embedding_dim)
        self.steps = nn.ModuleDict({m: layer(embedding_dim, embedding_dim) for m in self.chain[1:]})
        widths = dict.fromkeys(self.chain, embedding_dim) | ({self.chain[-1]: last} if self.steps else {})
        self.keys = nn.ModuleDict({m: layer(embedding_dim, outputs) for m, outputs in widths.items()})
        self.last_query = layer(embedding_dim, last) if self.steps else None

    def loss_terms(self, batch: Batch) -> Mapping[str, Tensor]:
        """The in-batch softmax of users and items, and the chain of contrasts between an item's representations."""
        users, user_place = batch.users.unique(return_inverse=True)
        items, item_place = batch.positives.unique(return_inverse=True)
        mean = LayerMeanRows(self.operator, self.num_layers, torch.cat([users, items + self.num_users]))
        (mean_RX,) = map_rows(self._tables(), mean)
        user_RX, item_RX = mean_RX.split([len(users), len(items)])
        user_BD, item_BD = take(self.user_fusion(user_RX), user_place), take(self.item_fusion(item_RX), item_place)
        once = torch.ones_like(item_place)
        chain = []
        for query_RD, key_RD in self._pairs(item_RX):
            query_BD, key_BD = take(query_RD, item_place), take(key_RD, item_place)
            own = torch.arange(len(item_place), device=item_place.device)
            chain.append(table_contrast(query_BD, key_BD, own, once, temperature=self.ssl_temperature) / len(own))
        return {
            "contrast": contrast(user_BD, item_BD, once, temperature=self.temperature),
            "chain": self.ssl_alpha * torch.stack(chain).sum(),
        }

    def embeddings(self) -> Embeddings:
        """Fused rows of all users and items."""
        mean_NX = layer_mean(self.operator, self._tables(), self.num_layers)
        return Embeddings(self.user_fusion(mean_NX[: self.num_users]), self.item_fusion(mean_NX[self.num_users :]))

    def _tables(self) -> Tensor:
        """The tables of layer 0 side by side, (N, X): users are the same in each."""
        user_UD, item_ID = self.node_ND.tensor_split([self.num_users])
        views = [self.projections[m](self.content[m]) for m in self.chain]
        return torch.cat([user_UD.repeat(1, 1 + len(views)), torch.cat([item_ID, *views], dim=1)])

    def _pairs(self, item_RX: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Queries and keys of the chain, one pair for each modality."""
        id_RD, *views = item_RX.chunk(1 + len(self.chain), dim=1)
        query_RD, pairs = self.query(id_RD), []
        for name, view_RD in zip(self.chain, views, strict=True):
            if name in self.steps:
                query_RD = self.steps[name](query_RD)
            if self.last_query is not None and name == self.chain[-1]:
                query_RD = self.last_query(query_RD)
            pairs.append((query_RD, self.keys[name](view_RD)))
        return pairs
