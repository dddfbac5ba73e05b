"""BM3 against the public reference implementation."""

import functools
from collections.abc import Callable

from tests.backbone.oracle import FEATURES, NODES, Options, OracleTests
from trustmm.backbone.base import Backbone
from trustmm.backbone.bm3 import BM3


class TestOracle(OracleTests):
    files = ("bm3", "bm3_visual")
    names = NODES | FEATURES | {"predictor": "predictor"}
    graph = {"norm_adj": lambda model: model.operator.to_dense()}

    def build(self, o: Options) -> Callable[..., Backbone]:
        return functools.partial(
            BM3,
            embedding_dim=o["embedding_size"],
            num_layers=o["n_layers"],
            dropout=o["dropout"],
            cl=o["cl_weight"],
            reg=o["reg_weight"],
            trainable_features=True,
        )
