"""SMORE against the public reference implementation; its filter as a matrix is the paper's, at widths with and without
a Nyquist frequency."""

import functools
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from tests.backbone.oracle import FEATURES, NODES, Options, OracleTests
from trustmm.backbone.base import Backbone
from trustmm.backbone.smore import SMORE, _SpectralGate


class TestOracle(OracleTests):
    files = ("smore",)
    names = (
        NODES
        | FEATURES
        | {
            "gate_image_prefer.0": "preferences.visual",
            "gate_text_prefer.0": "preferences.textual",
            "image_complex_weight": "gates.visual.filter_1C2",
            "text_complex_weight": "gates.textual.filter_1C2",
            "fusion_complex_weight": "fusion_gate.filter_1C2",
            "gate_v.0": "gates.visual.gate",
            "gate_t.0": "gates.textual.gate",
            "gate_f.0": "fusion_gate.gate",
            "gate_fusion_prefer.0": "fusion_preference",
            "query_v": "queries.visual",
            "query_t": "queries.textual",
        }
    )
    graph = {
        "image_original_adj": lambda model: model.item_graphs["visual"].to_dense(),
        "text_original_adj": lambda model: model.item_graphs["textual"].to_dense(),
        "fusion_adj": lambda model: model.fusion_graph.to_dense(),
        "norm_adj": lambda model: model.operator.to_dense(),
    }

    def build(self, o: Options) -> Callable[..., Backbone]:
        return functools.partial(
            SMORE,
            embedding_dim=o["embedding_size"],
            num_layers=o["n_ui_layers"],
            k=10,
            k_of={"visual": o["image_knn_k"], "textual": o["text_knn_k"]},
            dropout=o["dropout_rate"],
            cl=o["cl_loss"],
            temperature=0.2,
            reg=o["reg_weight"],
            trainable_features=True,
        )


@pytest.mark.parametrize("width", [1, 2, 7, 8])
def test_gate_of_the_filtered_signal_is_the_spectral_formula(width: int) -> None:
    rng = np.random.default_rng(0)
    gate = _SpectralGate(width, rng).double()
    id_ID, signal_ID = (torch.from_numpy(rng.standard_normal((5, width))) for _ in range(2))
    spectrum_IC = torch.fft.rfft(signal_ID, norm="ortho") * torch.view_as_complex(gate.filter_1C2)
    expected = id_ID * torch.sigmoid(gate.gate(torch.fft.irfft(spectrum_IC, n=width, norm="ortho")))
    assert_close(gate(id_ID, signal_ID), expected)
