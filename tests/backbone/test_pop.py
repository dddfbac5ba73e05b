"""Popularity: one ranking for all, in the order of the training positives."""

import numpy as np
import torch
from numpy.testing import assert_array_equal

from trustmm.backbone.pop import Popularity
from trustmm.dataset.data import TrainData
from trustmm.graph.edges import Edges
from trustmm.graph.neighbours import NeighbourSearch


def test_scores_count_the_positives_and_not_the_messages() -> None:
    supervision, propagation = Edges.of([0, 1, 1], [2, 2, 0], 2, 4), Edges.of([0, 1], [3, 3], 2, 4)
    train = TrainData(supervision, propagation, {})
    model = Popularity(train, rng=np.random.default_rng(0), neighbours=NeighbourSearch())
    assert_array_equal(model.scorer().scores(torch.arange(2)), [[1, 0, 2, 0], [1, 0, 2, 0]])
