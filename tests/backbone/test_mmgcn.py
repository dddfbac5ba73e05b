"""MMGCN against the public reference implementation, ids and preferences trained or not."""

import functools
from collections.abc import Callable

import numpy as np
import pytest

from tests.backbone.oracle import Options, OracleTests
from trustmm.backbone.base import Backbone
from trustmm.backbone.mmgcn import MMGCN
from trustmm.dataset.data import TrainData
from trustmm.graph.edges import Edges
from trustmm.graph.neighbours import NeighbourSearch

LAYERS = 3


class TestOracle(OracleTests):
    files = ("mmgcn", "mmgcn_visual")
    variants = ("", "_frozen")
    frozen = ("id_embedding", "*.preference")
    names = {"id_embedding": "node_ND"} | {
        f"{letter}_gcn.{theirs}": f"networks.{modality}.{ours}"
        for letter, modality in (("v", "visual"), ("t", "textual"))
        for theirs, ours in [
            ("preference", "preference_UC"),
            ("MLP", "projection"),
            *((f"conv_embed_{k + 1}.weight", f"blocks.{k}.mix_CC") for k in range(LAYERS)),
            *((f"linear_layer{k + 1}", f"blocks.{k}.own") for k in range(LAYERS)),
            *((f"g_layer{k + 1}", f"blocks.{k}.output") for k in range(LAYERS)),
        ]
    }

    def build(self, o: Options) -> Callable[..., Backbone]:
        return functools.partial(
            MMGCN,
            embedding_dim=o["embedding_size"],
            projected_dim=o["dim_latent"],
            widest_raw=10_000,
            num_layers=LAYERS,
            train_ids=True,
            reg=o["reg_weight"],
        )


@pytest.mark.parametrize(
    ("widths", "projected"),
    [
        ({"textual": 6, "visual": 4}, {"visual"}),
        ({"acoustic": 4, "textual": 9}, {"acoustic", "textual"}),
        ({"acoustic": 4, "textual": 6}, {"acoustic"}),
    ],
)
def test_the_first_modality_and_wide_ones_are_projected_and_frozen_tables_stay(
    widths: dict[str, int], projected: set[str]
) -> None:
    rng = np.random.default_rng(0)
    edges = Edges.of(np.array([0, 1, 2]), np.array([0, 1, 1]), 3, 2)
    train = TrainData(edges, edges, {m: rng.random((2, width), dtype=np.float32) for m, width in widths.items()})
    options = {"embedding_dim": 4, "projected_dim": 5, "widest_raw": 8, "num_layers": 2, "reg": 0.1}
    model = MMGCN(train, rng=rng, neighbours=NeighbourSearch(), train_ids=False, **options)
    assert {name for name, network in model.networks.items() if network.projection is not None} == projected
    still = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    assert still == {"node_ND"} | {f"networks.{name}.preference_UC" for name in widths}
