"""What the two ItemKNNs share: scores that are sums of an item's similarities with a user's items."""

import torch
from torch import Tensor, nn

from trustmm.backbone.base import Backbone
from trustmm.dataset.data import TrainData
from trustmm.graph.bipartite import incidence
from trustmm.graph.sparse import SparseMatrix


class NeighbourScores(nn.Module):
    """Scores R K, both sparse: a user's row is the sum of the rows of K of the user's items.

    Args:
        history: R, (U, I), ones.
        similarity: K, (I, I), rows are the user's items.
    """

    def __init__(self, history: SparseMatrix, similarity: SparseMatrix) -> None:
        super().__init__()
        self.history, self.similarity = history, similarity

    @property
    def num_items(self) -> int:
        """I."""
        return self.similarity.shape[1]

    def scores(self, users: Tensor) -> Tensor:
        """Scores (B, I) of users (B,), from the entries of their items' rows alone."""
        bags, items, _ = self.history.rows_at(users)
        rows = torch.repeat_interleave(torch.arange(len(users), device=users.device), bags.diff())
        bags, columns, values = self.similarity.rows_at(items)
        place = torch.repeat_interleave(rows * self.num_items, bags.diff()) + columns
        flat = values.new_zeros(len(users) * self.num_items).index_add_(0, place, values)
        return flat.view(len(users), self.num_items)

    def largest(self) -> Tensor:
        """The longest history times the largest similarity."""
        absent = self.similarity.values.new_zeros(1)
        return self.history.offsets.diff().max() * torch.cat([self.similarity.values.abs(), absent]).max()


class Neighbourhood(Backbone):
    """Scores of a constant item-item matrix; nothing is trained.

    Args:
        train: a user's items are those of its propagation edges.
        similarity: K, (I, I).
    """

    propagates = True
    uses_negatives = False

    def __init__(self, train: TrainData, similarity: SparseMatrix) -> None:
        super().__init__()
        self.sums = NeighbourScores(incidence(train.propagation), similarity)

    def scorer(self) -> NeighbourScores:
        """Sums over the user's items."""
        return self.sums
