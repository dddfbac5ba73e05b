"""LATTICE against the public reference implementation."""

import functools
from collections.abc import Callable

from tests.backbone.oracle import FEATURES, NODES, Options, OracleTests, Part
from trustmm.backbone.base import Backbone
from trustmm.backbone.lattice import LATTICE


class TestOracle(OracleTests):
    files = ("lattice",)
    names = NODES | FEATURES | {"modal_weight": Part("modality_weight_M", [1, 0])}
    graph = {
        "image_original_adj": lambda model: model.raw_graphs["visual"].to_dense(),
        "text_original_adj": lambda model: model.raw_graphs["textual"].to_dense(),
        "item_adj": lambda model: model.item_graph().constant.to_dense(),
        "norm_adj": lambda model: model.operator.to_dense(),
    }

    def build(self, o: Options) -> Callable[..., Backbone]:
        return functools.partial(
            LATTICE,
            embedding_dim=o["embedding_size"],
            num_layers=len(o["weight_size"]),
            num_item_layers=o["n_layers"],
            k=o["knn_k"],
            lam=o["lambda_coeff"],
            reg=o["reg_weight"],
            trainable_features=True,
        )
