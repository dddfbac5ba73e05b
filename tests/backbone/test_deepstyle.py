"""DeepStyle against its formula, and the categories that it needs."""

import functools
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import logsigmoid
from torch.testing import assert_close

from trustmm.backbone.base import Batch
from trustmm.backbone.deepstyle import DeepStyle
from trustmm.dataset.data import Dataset, TrainData
from trustmm.graph.edges import Edges
from trustmm.graph.neighbours import NeighbourSearch
from trustmm.job import check_fit

EDGES = Edges.of([0, 1, 1], [0, 0, 2], 2, 4)
CATEGORIES = np.array([2, 0, 2, 1])


def make(*modalities: str) -> tuple[DeepStyle, torch.Tensor]:
    """The model, and its items computed one by one."""
    rng = np.random.default_rng(0)
    features = {name: rng.standard_normal((4, 3)).astype(np.float32) for name in modalities}
    train = TrainData(EDGES, EDGES, features, CATEGORIES)
    model = DeepStyle(train, rng=rng, neighbours=NeighbourSearch(), embedding_dim=5, reg=0.1)
    x = torch.from_numpy(np.concatenate([features[name] for name in sorted(modalities)], axis=1))
    rows = [model.projection.weight @ x[i] - model.category_KD[c] + model.item_ID[i] for i, c in enumerate(CATEGORIES)]
    return model, torch.stack(rows)


@pytest.mark.parametrize("modalities", [("visual",), ("visual", "textual"), ("visual", "textual", "acoustic")])
def test_scores_are_users_times_style_and_id(modalities: tuple[str, ...]) -> None:
    model, items = make(*modalities)
    assert_close(model.scorer().scores(torch.arange(2)), model.user_UD @ items.T)


def test_loss_is_bpr_and_the_squares_of_the_gathered_rows() -> None:
    model, items = make("visual")
    users, positives, negatives = torch.tensor([0, 1, 1]), torch.tensor([0, 0, 2]), torch.tensor([3, 2, 1])
    terms = model.loss_terms(Batch(users, positives, negatives, 7))
    gap = (model.user_UD[users] * (items[positives] - items[negatives])).sum(dim=1)
    assert_close(terms["bpr"], -logsigmoid(gap).mean())
    both, category = torch.cat([positives, negatives]), torch.from_numpy(CATEGORIES)
    gathered = [model.user_UD[users], model.item_ID[both], model.category_KD[category[both]]]
    assert_close(terms["reg"], 0.1 * sum(rows.square().sum() for rows in gathered) / 14)


def test_data_without_categories_are_refused() -> None:
    data = Dataset("toy", EDGES, EDGES, EDGES, {"visual": np.eye(4, dtype=np.float32)})
    job: Any = SimpleNamespace(backbone=functools.partial(DeepStyle))
    with pytest.raises(ValueError, match="DeepStyle needs a category for each item, but dataset 'toy' has none; name"):
        check_fit(job, data)
