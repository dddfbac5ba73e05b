"""LayerGCN against the public reference implementation."""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.backbone.oracle import ITEMS, USERS, Arrays, Options, OracleTests
from trustmm.backbone.base import Backbone
from trustmm.backbone.layergcn import LayerGCN
from trustmm.dataset.data import TrainData
from trustmm.graph.edges import Edges
from trustmm.graph.neighbours import NeighbourSearch


def keep_drawn(model: Any, drawn: Arrays) -> None:
    """Train over the edges that the oracle kept, if it dropped any."""
    if "kept_user" in drawn:
        edges = model.graph.edges
        model.graph.keep(Edges.of(drawn["kept_user"], drawn["kept_item"], edges.num_users, edges.num_items))


class TestOracle(OracleTests):
    files = ("layergcn",)
    names = {"user_embeddings": USERS, "item_embeddings": ITEMS}
    graph = {
        "norm_adj_matrix": lambda model: model.graph.all.to_dense(),
        "masked_adj": lambda model: model.graph.kept.to_dense(),
    }

    def build(self, o: Options) -> Callable[..., Backbone]:
        return functools.partial(
            LayerGCN,
            embedding_dim=o["embedding_size"],
            num_layers=o["n_layers"],
            dropout=o["dropout"],
            alternate=False,
            reg=o["reg_weight"],
        )

    def prepare(self, model: Any, drawn: Arrays) -> None:
        keep_drawn(model, drawn)


@pytest.mark.parametrize("alternate", [False, True])
def test_every_second_epoch_is_drawn_without_regard_to_degrees_if_wanted(alternate: bool) -> None:
    """One pair of a rare user and item, among those of a popular item: by degree it is the likeliest to stay."""
    users, items = np.arange(40), np.append(np.zeros(39, dtype=np.int64), 1)
    edges = Edges.of(users, items, 40, 2)
    model = LayerGCN(
        TrainData(edges, edges, {}),
        rng=np.random.default_rng(0),
        neighbours=NeighbourSearch(),
        embedding_dim=2,
        num_layers=1,
        dropout=0.9,
        alternate=alternate,
        reg=0.0,
    )
    kept: dict[int, list[bool]] = {0: [], 1: []}
    for epoch in range(300):
        model.begin_epoch(np.random.default_rng(epoch))
        kept[epoch % 2].append(bool(model.graph.kept.to_dense()[39, 41]))
    assert np.mean(kept[0]) == pytest.approx(0.45, abs=0.12)
    assert np.mean(kept[1]) == pytest.approx(0.1 if alternate else 0.45, abs=0.12)
