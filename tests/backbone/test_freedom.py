"""FREEDOM against the public reference implementation."""

import functools
from collections.abc import Callable

from tests.backbone.oracle import FEATURES, NODES, Options, OracleTests
from trustmm.backbone.base import Backbone
from trustmm.backbone.freedom import FREEDOM


class TestOracle(OracleTests):
    files = ("freedom",)
    names = NODES | FEATURES
    graph = {"mm_adj": lambda model: model.item_graph.to_dense(), "norm_adj": lambda model: model.graph.all.to_dense()}

    def build(self, o: Options) -> Callable[..., Backbone]:
        return functools.partial(
            FREEDOM,
            embedding_dim=o["embedding_size"],
            num_layers=o["n_ui_layers"],
            num_item_layers=o["n_mm_layers"],
            k=o["knn_k"],
            dropout=o["dropout"],
            modality_weight={"visual": o["mm_image_weight"]},
            reg=o["reg_weight"],
            trainable_features=True,
        )
