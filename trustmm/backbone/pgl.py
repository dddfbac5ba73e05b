"""PGL: trained over the principal part of the user-item graph, evaluated over all of it."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from trustmm.backbone.base import Backbone, Batch, Embeddings
from trustmm.backbone.content import feature_projections, feature_tables, in_order
from trustmm.backbone.freedom import frozen_item_graph, modality_weights
from trustmm.backbone.initialise import xavier_uniform
from trustmm.backbone.losses import bpr, contrast
from trustmm.dataset.data import TrainData
from trustmm.graph.bipartite import layer_mean
from trustmm.graph.neighbours import NeighbourSearch, unit_rows
from trustmm.graph.principal import principal_entries
from trustmm.graph.pruned import PrunedGraph
from trustmm.graph.rows import LayerMeanRows, ProductRows, map_rows
from trustmm.graph.sparse import SparseMatrix, power_product
from trustmm.options.checks import Count, NonNegative, Positive, Within

# Shapes: those of `base`; M modalities, X = M D columns.


class PGL(Backbone):
    r"""Principal graph learning (Yu et al., AAAI 2025, https://doi.org/10.1609/aaai.v39i12.33429).

    .. math::
        t = [\operatorname{norm}(W_m X_m + b_m)]_m, \qquad
        Z = \tfrac{1}{L+1} \textstyle\sum_{l=0}^{L} G^l [P ; t], \qquad
        s_{ui} = \bigl\langle Z_u, Z_i + (M^n t)_i \bigr\rangle

    with P a table of users for each modality, side by side, and M FREEDOM's frozen item graph; there are no ids. In
    evaluation G is the normalised user-item graph S, in training its principal part:

    - `local`: a share of the edges, drawn anew each epoch with weight (deg_u deg_i)^-1/2, normalised by itself;
    - `global`: fixed, from the leading singular triples of S (`principal_entries`); the product is kept sparse.

    The loss is BPR and a contrast of the batch's users, and of its positives, with themselves under dropout.

    Deviations: features are trainable, as in the public reference, unless `trainable_features` is false. As released,
    the reference has `cl` 0, no contrast.

    Args:
        train: messages over its propagation edges; at least one modality.
        rng: stream for the initial weights.
        neighbours: search for the item graph, built once from the input features; keeps the principal part.
        embedding_dim: width D of each modality; with `global` it is also the number of triples, a multiple of 8.
        num_layers: depth L of the user-item propagation.
        num_item_layers: depth n of the item-graph propagation.
        k: neighbours of an item in each modality.
        modality_weight: w by modality name; others share what is left to 1 equally.
        mode: see above.
        keep: share of the edges that an epoch keeps (`local`).
        dropout: of the contrast's views.
        temperature: of the contrast.
        cl: weight of the contrast.
        trainable_features: treat the features as parameters that start at the input.
    """

    needs_features = True
    propagates = True
    lr_decay = 0.96

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
        modality_weight: Mapping[str, NonNegative],
        mode: Literal["local", "global"],
        keep: Annotated[float, Within("(0, 1]")],
        dropout: Annotated[float, Within("[0, 1)")],
        temperature: Positive,
        cl: NonNegative,
        trainable_features: bool,
    ) -> None:
        super().__init__()
        self.num_users, self.num_layers, self.num_item_layers = train.num_users, num_layers, num_item_layers
        self.dropout, self.temperature, self.cl = dropout, temperature, cl
        names = in_order(train.features)
        size = (train.num_users, embedding_dim)
        self.users = nn.ParameterDict({name: nn.Parameter(xavier_uniform(size, rng)) for name in names})
        self.features = feature_tables(train, trainable=trainable_features)
        self.projections = feature_projections(train, embedding_dim, rng, order=in_order)
        self.item_graph = frozen_item_graph(train, modality_weight, k, neighbours)
        self.graph = PrunedGraph(train.propagation, drop_fraction=1 - keep if mode == "local" else 0.0)
        if mode == "global":
            self.graph.kept = principal_graph(train, neighbours, rank=embedding_dim)

    @classmethod
    def check_fit(cls, modalities: Sequence[str], **options: Any) -> None:
        """Weights that leave something for every modality, and triples that come in pairs."""
        modality_weights(modalities, options.get("modality_weight", {}))
        if options.get("mode") == "global" and options["embedding_dim"] % 8:
            raise ValueError(
                "backbone.mode=global uses embedding_dim / 4 singular triples, which come in equal pairs, so "
                f"backbone.embedding_dim must be a multiple of 8, got {options['embedding_dim']}"
            )

    def begin_epoch(self, rng: np.random.Generator) -> None:
        """Draw the principal part, where it is local."""
        self.graph.begin_epoch(rng)

    def loss_terms(self, batch: Batch) -> Mapping[str, Tensor]:
        """BPR, and the contrast of users and of positives with themselves."""
        items = torch.cat([batch.positives, batch.negatives])
        index = torch.cat([batch.users, items + self.num_users])
        mean = LayerMeanRows(self.graph.kept, self.num_layers, index)
        added = ProductRows(self.item_graph, items, depth=self.num_item_layers, first=self.num_users)
        mean_BX, added_BX = map_rows(self._start(), mean, added)
        user_BX, item_BX = mean_BX.split([len(batch.users), len(items)])
        positive_BX, negative_BX = (item_BX + added_BX).chunk(2)
        of_both = self._contrast("user", user_BX) + self._contrast("item", positive_BX)
        return {"bpr": bpr(user_BX, positive_BX, negative_BX), "contrast": self.cl * of_both / 2}

    def embeddings(self) -> Embeddings:
        """Users, and items with what the item graph adds, over all edges."""
        start_NX = self._start()
        final_NX = layer_mean(self.graph.all, start_NX, self.num_layers)
        added_IX = power_product(self.item_graph, start_NX[self.num_users :], self.num_item_layers)
        return Embeddings(final_NX[: self.num_users], final_NX[self.num_users :] + added_IX)

    def _start(self) -> Tensor:
        """[P ; t], (N, X)."""
        items = [unit_rows(layer(self.features[name])) for name, layer in self.projections.items()]
        users = [self.users[name] for name in self.projections]
        return torch.cat([torch.cat(users, dim=1), torch.cat(items, dim=1)])

    def _contrast(self, name: str, rows_BX: Tensor) -> Tensor:
        first, second = (self.drop(f"keep_{name}_{view}", rows_BX, self.dropout) for view in ("first", "second"))
        return contrast(first, second, rows_BX.new_ones(len(rows_BX)), temperature=self.temperature)


def principal_graph(train: TrainData, neighbours: NeighbourSearch, *, rank: int) -> SparseMatrix:
    """The principal part as an operator on all nodes, (N, N).

    Raises: ValueError if there are too few users or items for so many singular triples.
    """
    edges, size = train.propagation, (train.num_users, train.num_items)
    if rank // 2 >= min(size):
        raise ValueError(
            f"backbone.mode=global needs more than embedding_dim / 2 = {rank // 2} users and items, got {size}"
        )
    found = neighbours.once(principal_entries, users=edges.users, items=edges.items, size=size, rank=rank)
    users, items = torch.from_numpy(found["users"]), torch.from_numpy(found["items"]) + train.num_users
    values = torch.from_numpy(found["values"]).float()
    rows, columns = torch.cat([users, items]), torch.cat([items, users])
    return SparseMatrix(rows, columns, torch.cat([values, values]), (sum(size), sum(size)), symmetric=True)
