"""PGL against the public reference implementation, in both modes."""

import functools
from collections.abc import Callable
from typing import Any

import pytest
import torch

from tests.backbone.oracle import Arrays, Options, OracleTests
from trustmm.backbone.base import Backbone
from trustmm.backbone.pgl import PGL
from trustmm.graph.bipartite import pair_rates
from trustmm.graph.edges import Edges


def edge_probability(model: Any) -> torch.Tensor:
    rates = torch.from_numpy(pair_rates(model.graph.edges))
    return rates / rates.sum()


class TestOracle(OracleTests):
    files = ("pgl", "pgl_global")
    names = {
        "user_image.weight": "users.visual",
        "user_text.weight": "users.textual",
        "image_embedding.weight": "features.visual",
        "text_embedding.weight": "features.textual",
        "image_trs": "projections.visual",
        "text_trs": "projections.textual",
    }
    graph = {
        "mm_adj": lambda model: model.item_graph.to_dense(),
        "norm_adj": lambda model: model.graph.all.to_dense(),
        "sub_graph": lambda model: model.graph.kept.to_dense(),
    }

    def graphs_of(self, o: Options) -> Any:
        return self.graph | ({"edge_probability": edge_probability} if o["mode"] == "local" else {})

    def build(self, o: Options) -> Callable[..., Backbone]:
        return functools.partial(
            PGL,
            embedding_dim=o["feat_embed_dim"],
            num_layers=o["n_ui_layers"],
            num_item_layers=o["n_mm_layers"],
            k=o["knn_k"],
            modality_weight={"visual": o["mm_image_weight"]},
            mode=o["mode"],
            keep=0.3,
            dropout=o["dropout"],
            temperature=0.2,
            cl=o["reg_weight"],
            trainable_features=True,
        )

    def prepare(self, model: Any, drawn: Arrays) -> None:
        if "sub_user" in drawn:
            edges = model.graph.edges
            model.graph.keep(Edges.of(drawn["sub_user"], drawn["sub_item"], edges.num_users, edges.num_items))


def test_triples_that_would_be_cut_from_their_pair_are_refused() -> None:
    with pytest.raises(ValueError, match=r"backbone.mode=global .* must be a multiple of 8, got 60"):
        PGL.check_fit(["visual"], mode="global", embedding_dim=60)
    PGL.check_fit(["visual"], mode="local", embedding_dim=60)
