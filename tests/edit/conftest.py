"""Small graphs whose prior has whole numbers, so that inner products are exact and ties abound."""

import numpy as np
import pytest

from trustmm.dataset.data import TrainData
from trustmm.graph.edges import Edges
from trustmm.prior.lightgcn import Prior

NUM_USERS, NUM_ITEMS = 17, 29


@pytest.fixture(params=range(4))
def graph(request: pytest.FixtureRequest) -> tuple[TrainData, Edges, Prior]:
    """Training data, pairs held out, a prior with entries -1, 0 and 1; a user and an item without edges."""
    rng = np.random.default_rng(request.param)
    chosen = rng.random((NUM_USERS, NUM_ITEMS)) < 0.3
    chosen[3], chosen[:, 4] = False, False
    chosen[5] = np.arange(NUM_ITEMS) != 4  # a user with a single free item
    edges = Edges.of(*chosen.nonzero(), NUM_USERS, NUM_ITEMS)
    held_out = Edges.of(*(rng.random(chosen.shape) < 0.2).nonzero(), NUM_USERS, NUM_ITEMS).without(edges)
    prior = Prior(
        rng.integers(-1, 2, (NUM_USERS, 3)).astype(np.float32), rng.integers(-1, 2, (NUM_ITEMS, 3)).astype(np.float32)
    )
    return TrainData(edges, edges, {}), held_out, prior
