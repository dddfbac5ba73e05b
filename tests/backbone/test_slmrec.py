"""SLMRec against the public reference implementation, and its chain for other than two modalities."""

import functools
from collections.abc import Callable, Mapping

import numpy as np
import pytest
import torch

from tests.backbone.oracle import ITEMS, USERS, Options, OracleTests, Part
from trustmm.backbone.base import Backbone
from trustmm.backbone.slmrec import SLMRec
from trustmm.dataset.data import TrainData
from trustmm.graph.edges import Edges
from trustmm.graph.neighbours import NeighbourSearch


class TestOracle(OracleTests):
    files = ("slmrec",)
    names: Mapping[str, str | Part] = {
        "embedding_user.weight": USERS,
        "embedding_item.weight": ITEMS,
        "v_dense": "projections.visual",
        "t_dense": "projections.textual",
        "embedding_user_after_GCN": "user_fusion",
        "embedding_item_after_GCN": "item_fusion",
        "g_i_iv": "query",
        "g_v_iv": "keys.visual",
        "g_iv_iva": "steps.textual",
        "g_iva_ivat": "last_query",
        "g_t_ivat": "keys.textual",
    }
    graph = {"norm_adj": lambda model: model.operator.to_dense()}
    sigmoid = True
    variants = ("", "_decay")

    def build(self, o: Options) -> Callable[..., Backbone]:
        return functools.partial(
            SLMRec,
            embedding_dim=o["recdim"],
            num_layers=o["layer_num"],
            temperature=o["temp"],
            ssl_alpha=o["ssl_alpha"],
            ssl_temperature=o["ssl_temp"],
        )


def make(*modalities: str) -> SLMRec:
    rng = np.random.default_rng(0)
    edges = Edges.of([0, 1, 1], [0, 0, 2], 2, 3)
    features = {name: rng.standard_normal((3, 5)).astype(np.float32) for name in modalities}
    options = {"embedding_dim": 6, "num_layers": 1, "temperature": 0.2, "ssl_alpha": 0.1, "ssl_temperature": 0.2}
    return SLMRec(TrainData(edges, edges, features), rng=rng, neighbours=NeighbourSearch(), **options)


@pytest.mark.parametrize(
    ("modalities", "widths"),
    [
        (["textual"], {"textual": 6}),
        (["textual", "visual"], {"visual": 6, "textual": 3}),
        (["textual", "visual", "acoustic"], {"visual": 6, "acoustic": 6, "textual": 3}),
    ],
)
def test_the_chain_passes_one_more_map_for_each_modality_and_ends_half_as_wide(
    modalities: list[str], widths: dict[str, int]
) -> None:
    model = make(*modalities)
    item_RX = torch.randn(3, 6 * (1 + len(modalities)))
    found = model._pairs(item_RX)
    assert list(model.keys) == list(widths)
    assert [(query.shape[1], key.shape[1]) for query, key in found] == [(width, width) for width in widths.values()]
    query = model.query(item_RX[:, :6])
    for place, name in enumerate(widths):
        query = model.steps[name](query) if place else query
        last = place and place == len(widths) - 1
        torch.testing.assert_close(found[place][0], model.last_query(query) if last else query)
        torch.testing.assert_close(found[place][1], model.keys[name](item_RX[:, 6 * (place + 1) : 6 * (place + 2)]))
