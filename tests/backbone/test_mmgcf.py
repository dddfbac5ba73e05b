"""MMGCF against the public reference implementation, in all three weightings."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

from tests.backbone.oracle import NODES, Arrays, Options, OracleTests, Part
from tests.backbone.test_layergcn import keep_drawn
from trustmm.backbone.base import Backbone
from trustmm.backbone.mmgcf import MMGCF


class TestOracle(OracleTests):
    files = ("mmgcf", "mmgcf_alpha", "mmgcf_normalized", "mmgcf_visual")
    graph = {
        "norm_adj": lambda model: model.graph.all.to_dense(),
        "masked_adj": lambda model: model.graph.kept.to_dense(),
    }

    def names_of(self, o: Options) -> Mapping[str, str | Part]:
        return NODES | {
            "image_trs": "projections.visual",
            "text_trs": "projections.textual",
            "mm_alpha": Part("share_1", 0),
            "mm_concat_layer": "fuse_content.map",
            "id_mm_concat_layer": "fuse.map",
            "all_concat_layer": "fuse.map",
        }

    def build(self, o: Options) -> Callable[..., Backbone]:
        return functools.partial(
            MMGCF,
            embedding_dim=o["embedding_size"],
            num_layers=o["n_ui_layers"],
            fusion=o["fusion_mode"],
            weighting=o["weighting"],
            dropout=o["dropout"],
            reg=o["reg_weight"],
        )

    def prepare(self, model: Any, drawn: Arrays) -> None:
        keep_drawn(model, drawn)
