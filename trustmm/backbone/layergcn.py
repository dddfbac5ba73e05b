"""LayerGCN: layers weighed by their agreement with the ids, without content."""

from collections.abc import Mapping
from typing import Annotated

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from trustmm.backbone.base import Backbone, Batch, Embeddings
from trustmm.backbone.content import node_table
from trustmm.dataset.data import TrainData
from trustmm.graph.neighbours import NeighbourSearch
from trustmm.graph.pruned import PrunedGraph
from trustmm.graph.rows import take
from trustmm.graph.sparse import SparseMatrix
from trustmm.options.checks import Count, NonNegative, Within


class LayerGCN(Backbone):
    r"""Layer-refined graph convolution (Zhou et al., ICDE 2023, https://arxiv.org/abs/2207.11088).

    .. math::
        x^{(l)} = \cos\bigl(S x^{(l-1)}, x^{(0)}\bigr) \odot S x^{(l-1)}, \qquad
        z = \textstyle\sum_{l=1}^{L} x^{(l)}, \qquad s_{ui} = \langle z_u, z_i \rangle

    with :math:`x^{(0)}` the ids and the cosine one number for each row. Ignores item features. Training sends messages
    over a pruned user-item graph, evaluation over all of it. The loss is a sum over the batch, BPR and penalty alike.

    Deviation of the public reference, as an option: it draws by degree in every other epoch only (`alternate`).

    Args:
        train: messages over its propagation edges; features are ignored.
        rng: stream for the initial ids, Xavier-uniform.
        neighbours: unused, this model has no item graph.
        embedding_dim: width D.
        num_layers: depth L.
        dropout: share of user-item edges dropped each epoch, by degree; 0 keeps all.
        alternate: draw the edges of every second epoch uniformly.
        reg: weight of half the squared norms of the batch's ids.
    """

    propagates = True

    def __init__(
        self,
        train: TrainData,
        *,
        rng: np.random.Generator,
        neighbours: NeighbourSearch,
        embedding_dim: Count,
        num_layers: Count,
        dropout: Annotated[float, Within("[0, 1)")],
        alternate: bool,
        reg: NonNegative,
    ) -> None:
        super().__init__()
        self.num_users, self.num_layers, self.reg = train.num_users, num_layers, reg
        self.alternate = alternate
        self.register_buffer("epochs", torch.zeros(1, dtype=torch.int64))  # saved, so that a resumed training goes on
        self.node_ND = node_table(train, embedding_dim, rng)
        self.graph = PrunedGraph(train.propagation, drop_fraction=dropout)

    epochs: Tensor

    def begin_epoch(self, rng: np.random.Generator) -> None:
        """Draw the pruned user-item graph."""
        uniform = self.alternate and bool(self.epochs % 2)
        self.epochs += 1
        self.graph.begin_epoch(rng, by_degree=not uniform)

    def loss_terms(self, batch: Batch) -> Mapping[str, Tensor]:
        """BPR and the penalty of the batch's ids, sums both."""
        index = batch.nodes(self.num_users)
        user_BD, positive_BD, negative_BD = take(self._final(self.graph.kept), index).chunk(3)
        wins = F.logsigmoid((user_BD * (positive_BD - negative_BD)).sum(dim=1))
        return {"bpr": -wins.sum(), "reg": self.reg * take(self.node_ND, index).square().sum() / 2}

    def embeddings(self) -> Embeddings:
        """Sums of the layers of all nodes."""
        final_ND = self._final(self.graph.all)
        return Embeddings.of_nodes(final_ND, self.num_users)

    def _final(self, operator: SparseMatrix) -> Tensor:
        layer_ND: Tensor = self.node_ND
        layers: list[Tensor] = []
        for _ in range(self.num_layers):
            layer_ND = operator @ layer_ND
            layer_ND = F.cosine_similarity(layer_ND, self.node_ND, dim=1)[:, None] * layer_ND
            layers.append(layer_ND)
        return torch.stack(layers).sum(dim=0)
