"""DRAGON against the public reference implementation."""

import functools
from collections.abc import Callable
from typing import Any

from tests.backbone.oracle import Arrays, Options, OracleTests
from tests.backbone.test_dualgnn import TOWERS, WEIGHTS, set_user_graph, user_common
from trustmm.backbone.base import Backbone
from trustmm.backbone.dragon import DRAGON


class TestOracle(OracleTests):
    files = ("dragon",)
    names = TOWERS | WEIGHTS
    graph = {
        "mm_adj": lambda model: model.item_graph.to_dense(),
        "user_common": lambda model: user_common(model, model.num_users),
    }

    def build(self, o: Options) -> Callable[..., Backbone]:
        return functools.partial(
            DRAGON,
            embedding_dim=o["dim_latent"],
            num_item_layers=o["n_mm_layers"],
            k=o["knn_k"],
            modality_weight={"visual": o["mm_image_weight"]},
            k_users=10_000,  # all partners, so that their counts can be compared; the weights are handed in
            pad_users=False,
            reg=o["reg_weight"],
        )

    def prepare(self, model: Any, drawn: Arrays) -> None:
        set_user_graph(model, drawn)
