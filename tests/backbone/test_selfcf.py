"""SELFCF-ed on LightGCN against the public reference implementation, and the law of its training graph."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from tests.backbone.oracle import ITEMS, USERS, Arrays, FixedDraws, Options, OracleTests
from trustmm.backbone.base import Backbone
from trustmm.backbone.selfcf import SELFCF
from trustmm.dataset.data import TrainData
from trustmm.graph.edges import Edges
from trustmm.graph.neighbours import NeighbourSearch


def dropped(model: SELFCF) -> torch.Tensor:
    """One draw of the training graph, dense."""
    values = model.dropped_values()
    return values.new_zeros(model.operator.shape).index_put((model.pattern.rows, model.pattern.columns), values)


class TestOracle(OracleTests):
    files = ("selfcfed_lgn",)
    names = {
        "online_encoder.embedding_dict.user_emb": USERS,
        "online_encoder.embedding_dict.item_emb": ITEMS,
        "predictor": "predictor",
    }

    def build(self, o: Options) -> Callable[..., Backbone]:
        return functools.partial(
            SELFCF,
            embedding_dim=o["embedding_size"],
            num_layers=o["n_layers"],
            dropout=o["dropout"],
            graph_dropout=1.0,
            reg=o["reg_weight"],
        )

    def draws_of(self, model: Any, drawn: Arrays) -> Mapping[str, Any]:
        kept = drawn["graph_dropped"][model.operator.row_index(), model.operator.columns] != 0
        return {**drawn, "keep_graph": kept}

    def test_oracle_training_graph(self, case: Any) -> None:
        found = dropped(case.model)
        expected = torch.from_numpy(case.expected["draw/graph_dropped"]).to(found)
        assert_close(found, expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("rate", [0.0, 0.5])
def test_directions_of_an_edge_are_dropped_each_for_itself_and_survivors_scaled(rate: float) -> None:
    edges = Edges.of([0, 0, 1], [0, 1, 1], 2, 2)
    options: dict[str, Any] = {"embedding_dim": 3, "num_layers": 1, "dropout": 0.0, "graph_dropout": 1.0, "reg": 0.0}
    train, rng = TrainData(edges, edges, {}), np.random.default_rng(0)
    model = SELFCF(train, rng=rng, neighbours=NeighbourSearch(), **options)
    keep = torch.tensor([1.0, 0, 1, 1, 1, 1])
    model.draws = FixedDraws({"graph_rate": rate, "keep_graph": keep})
    whole, found = model.operator.to_dense(), dropped(model)
    assert found[0, 3] == 0
    assert_close(found[3, 0], whole[3, 0] / (1 - rate))
    assert (found != 0).sum() == 5
