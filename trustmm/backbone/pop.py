"""Popularity: the same list for every user, the floor of all floors."""

import numpy as np
import torch

from trustmm.backbone.base import Backbone, Embeddings
from trustmm.dataset.data import TrainData
from trustmm.graph.neighbours import NeighbourSearch


class Popularity(Backbone):
    """Scores are the numbers of an item's training positives; equal ones come in the order of the items.

    Args:
        train: its supervision edges; features are ignored.
        rng: unused, nothing is drawn.
        neighbours: unused.
    """

    uses_negatives = False

    def __init__(self, train: TrainData, *, rng: np.random.Generator, neighbours: NeighbourSearch) -> None:
        super().__init__()
        degree_I1 = torch.from_numpy(train.supervision.item_degree).float()[:, None]
        self.register_buffer("degree_I1", degree_I1, persistent=False)
        self.register_buffer("one_U1", torch.ones(train.num_users, 1), persistent=False)

    degree_I1: torch.Tensor
    one_U1: torch.Tensor

    def embeddings(self) -> Embeddings:
        """One for every user, the number of positives for every item."""
        return Embeddings(self.one_U1, self.degree_I1)
