"""MGCN against the public reference implementation."""

import functools
from collections.abc import Callable

from tests.backbone.oracle import FEATURES, NODES, Options, OracleTests
from trustmm.backbone.base import Backbone
from trustmm.backbone.mgcn import MGCN


class TestOracle(OracleTests):
    files = ("mgcn",)
    names = (
        NODES
        | FEATURES
        | {
            "gate_image_prefer.0": "preferences.visual",
            "gate_text_prefer.0": "preferences.textual",
            "query_common": "attention",
            "gate_v.0": "gates.visual",
            "gate_t.0": "gates.textual",
        }
    )
    graph = {
        "image_original_adj": lambda model: model.item_graphs["visual"].to_dense(),
        "text_original_adj": lambda model: model.item_graphs["textual"].to_dense(),
        "norm_adj": lambda model: model.operator.to_dense(),
    }

    def build(self, o: Options) -> Callable[..., Backbone]:
        return functools.partial(
            MGCN,
            embedding_dim=o["embedding_size"],
            num_layers=o["n_ui_layers"],
            num_item_layers=o["n_layers"],
            k=o["knn_k"],
            cl=o["cl_loss"],
            temperature=0.2,
            reg=o["reg_weight"],
            trainable_features=True,
        )
