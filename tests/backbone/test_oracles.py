"""All seven backbones against scores, losses, gradients and graphs of the public reference implementation.

A name of the oracle maps to a parameter here and, where that holds more than one of theirs, to its part. Shapes and
hyper-parameters come from the files, so that another set of files passes unchanged.
"""

import functools
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from trustmm.backbone.base import Backbone, Batch
from trustmm.backbone.bpr import BPRMF
from trustmm.backbone.freedom import FREEDOM
from trustmm.backbone.lattice import LATTICE
from trustmm.backbone.lightgcn import LightGCN
from trustmm.backbone.mgcn import MGCN
from trustmm.backbone.smore import SMORE
from trustmm.backbone.vbpr import VBPR
from trustmm.dataset.data import TrainData
from trustmm.graph.edges import Edges
from trustmm.graph.neighbours import NeighbourSearch

pytestmark = pytest.mark.realdata

Arrays = Mapping[str, np.ndarray]
Options = Mapping[str, Any]
Part = tuple[str, Any]
"""A parameter here, and which part of it."""

NAMES = ("bpr", "lightgcn", "vbpr", "freedom", "lattice", "mgcn", "smore")
USERS, ITEMS = "users of node_ND", "items of node_ND"
WHOLE = slice(None)
FEATURES = {
    "user_embedding.weight": USERS,
    "item_id_embedding.weight": ITEMS,
    "image_embedding.weight": "features.visual",
    "text_embedding.weight": "features.textual",
    "image_trs": "projections.visual",
    "text_trs": "projections.textual",
}
GATES = {"gate_image_prefer.0": "preferences.visual", "gate_text_prefer.0": "preferences.textual"}
PARAMETERS: dict[str, dict[str, Any]] = {
    "bpr": {"user_embedding.weight": "user_UD", "item_embedding.weight": "item_ID"},
    "lightgcn": {"embedding_dict.user_emb": USERS, "embedding_dict.item_emb": ITEMS},
    "vbpr": {"u_embedding": "user_UD", "i_embedding": "item_ID", "item_linear": "projection"},
    "freedom": FEATURES,
    "lattice": FEATURES | {"modal_weight": ("modality_weight_M", [1, 0])},
    "mgcn": FEATURES | GATES | {"query_common": "attention", "gate_v.0": "gates.visual", "gate_t.0": "gates.textual"},
    "smore": FEATURES
    | GATES
    | {
        "image_complex_weight": "gates.visual.filter_1C2",
        "text_complex_weight": "gates.textual.filter_1C2",
        "fusion_complex_weight": "fusion_gate.filter_1C2",
        "gate_v.0": "gates.visual.gate",
        "gate_t.0": "gates.textual.gate",
        "gate_f.0": "fusion_gate.gate",
        "gate_fusion_prefer.0": "fusion_preference",
        "query_v": "queries.visual",
        "query_t": "queries.textual",
    },
}
GRAPHS: dict[str, dict[str, Callable[[Any], Tensor]]] = {
    "bpr": {},
    "vbpr": {},
    "lightgcn": {"norm_adj_matrix": lambda model: model.operator.to_dense()},
    "freedom": {
        "mm_adj": lambda model: model.item_graph.to_dense(),
        "norm_adj": lambda model: model.operator.to_dense(),
    },
    "lattice": {
        "image_original_adj": lambda model: model.raw_graphs["visual"].to_dense(),
        "text_original_adj": lambda model: model.raw_graphs["textual"].to_dense(),
        "item_adj": lambda model: model.item_graph().constant.to_dense(),
        "norm_adj": lambda model: model.operator.to_dense(),
    },
    "mgcn": {
        "image_original_adj": lambda model: model.item_graphs["visual"].to_dense(),
        "text_original_adj": lambda model: model.item_graphs["textual"].to_dense(),
        "norm_adj": lambda model: model.operator.to_dense(),
    },
    "smore": {
        "image_original_adj": lambda model: model.item_graphs["visual"].to_dense(),
        "text_original_adj": lambda model: model.item_graphs["textual"].to_dense(),
        "fusion_adj": lambda model: model.fusion_graph.to_dense(),
        "norm_adj": lambda model: model.operator.to_dense(),
    },
}


def bpr(o: Options) -> Callable[..., Backbone]:
    return functools.partial(BPRMF, reg=o["reg_weight"])


def lightgcn(o: Options) -> Callable[..., Backbone]:
    return functools.partial(LightGCN, num_layers=o["n_layers"], reg=o["reg_weight"])


def vbpr(o: Options) -> Callable[..., Backbone]:
    return functools.partial(VBPR, reg=o["reg_weight"])


def freedom(o: Options) -> Callable[..., Backbone]:
    return functools.partial(
        FREEDOM,
        num_layers=o["n_ui_layers"],
        num_item_layers=o["n_mm_layers"],
        k=o["knn_k"],
        dropout=o["dropout"],
        modality_weight={"visual": o["mm_image_weight"]},
        reg=o["reg_weight"],
        trainable_features=True,
    )


def lattice(o: Options) -> Callable[..., Backbone]:
    return functools.partial(
        LATTICE,
        num_layers=len(o["weight_size"]),
        num_item_layers=o["n_layers"],
        k=o["knn_k"],
        lam=o["lambda_coeff"],
        reg=o["reg_weight"],
        trainable_features=True,
    )


def mgcn(o: Options) -> Callable[..., Backbone]:
    return functools.partial(
        MGCN,
        num_layers=o["n_ui_layers"],
        num_item_layers=o["n_layers"],
        k=o["knn_k"],
        cl=o["cl_loss"],
        temperature=0.2,
        reg=o["reg_weight"],
        trainable_features=True,
    )


def smore(o: Options) -> Callable[..., Backbone]:
    return functools.partial(
        SMORE,
        num_layers=o["n_ui_layers"],
        k=10,
        k_of={"visual": o["image_knn_k"], "textual": o["text_knn_k"]},
        dropout=o["dropout_rate"],
        cl=o["cl_loss"],
        temperature=0.2,
        reg=o["reg_weight"],
        trainable_features=True,
    )


BUILD = {
    "bpr": bpr,
    "lightgcn": lightgcn,
    "vbpr": vbpr,
    "freedom": freedom,
    "lattice": lattice,
    "mgcn": mgcn,
    "smore": smore,
}


@dataclass
class Case:
    """A backbone at the oracle's parameters, with what the oracle found."""

    name: str
    model: Backbone
    expected: Arrays
    batches: tuple[Batch, Batch]

    def part(self, oracle_name: str) -> Part:
        """Our parameter, and the part of it, of a parameter of the oracle."""
        table = PARAMETERS[self.name]
        known = next((name for name in table if oracle_name == name or oracle_name.startswith(f"{name}.")), None)
        assert known is not None, f"{oracle_name} of {self.name} has no counterpart here"
        found = table[known]
        if found in (USERS, ITEMS):
            num_users = self.batches_shape[0]
            return "node_ND", slice(num_users) if found == USERS else slice(num_users, None)
        return found if isinstance(found, tuple) else (found + oracle_name.removeprefix(known), WHOLE)

    @property
    def batches_shape(self) -> tuple[int, int]:
        return self.expected["scores"].shape

    @property
    def oracle_names(self) -> list[str]:
        return [name.removeprefix("param/") for name in self.expected if name.startswith("param/")]

    def set_parameters(self) -> None:
        ours = dict(self.model.named_parameters())
        with torch.no_grad():
            for name in self.oracle_names:
                mine, part = self.part(name)
                value = torch.from_numpy(self.expected[f"param/{name}"])
                assert ours[mine][part].shape == value.shape, name
                ours[mine][part] = value.to(ours[mine].dtype)

    def step(self, batch: Batch) -> float:
        """Loss of a batch; its gradients are left on the parameters."""
        self.model.zero_grad(set_to_none=True)
        loss = torch.stack(tuple(self.model.loss_terms(batch).values())).sum()
        loss.backward()
        return loss.item()

    def gradients(self) -> dict[str, np.ndarray]:
        """Gradients under the oracle's names; none is zeros."""
        ours = dict(self.model.named_parameters())
        found = {}
        for name in self.oracle_names:
            mine, part = self.part(name)
            gradient = ours[mine].grad
            found[name] = (torch.zeros_like(ours[mine]) if gradient is None else gradient)[part].numpy()
        return found

    def scores(self) -> np.ndarray:
        self.model.eval()
        with torch.no_grad():
            final = self.model.embeddings()
            scores = final.user_UD @ final.item_ID.T
        self.model.train()
        return scores.numpy()


@pytest.fixture(params=[torch.float32, torch.float64], ids=["float32", "float64"])
def case(request: pytest.FixtureRequest, oracle_folder: Path, name: str) -> Case:
    inputs = np.load(oracle_folder / "inputs.npz")
    options = json.loads((oracle_folder / "config.json").read_text())[name]
    expected = dict(np.load(oracle_folder / f"{name}.npz"))
    edges = Edges.of(inputs["train_user"], inputs["train_item"], *inputs["shape"].tolist())
    train = TrainData(edges, edges, {modality: inputs[modality] for modality in ("visual", "textual")})
    build = BUILD[name](options)
    model = build(
        train, rng=np.random.default_rng(0), neighbours=NeighbourSearch(), embedding_dim=options["embedding_size"]
    ).to(request.param)
    triples = [
        [torch.from_numpy(inputs[f"{which}_{part}"]) for part in ("user", "pos", "neg")]
        for which in ("batch", "second")
    ]
    first, second = (Batch(*columns, options["train_batch_size"]) for columns in triples)
    found = Case(name, model, expected, (first, second))
    found.set_parameters()
    model.train()
    model.begin_epoch(np.random.default_rng(0))
    return found


def assert_matches(found: Any, expected: Any, what: str, tolerance: float = 1e-4) -> None:
    """The oracles' own bound, elementwise: see oracles/README.md. It must never be loosened."""
    found, expected = np.asarray(found, dtype=np.float64), np.asarray(expected, dtype=np.float64)
    assert found.shape == expected.shape, f"{what}: {found.shape} where the oracle has {expected.shape}"
    atol = min(1e-6, max(1e-9, 1e-4 * np.abs(expected).max()))
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=atol, err_msg=what)


@pytest.mark.parametrize("name", NAMES)
def test_oracle_scores_and_graphs(case: Case) -> None:
    graphs = {key.removeprefix("graph/"): value for key, value in case.expected.items() if key.startswith("graph/")}
    assert graphs.keys() == GRAPHS[case.name].keys()
    for graph, expected in graphs.items():
        assert_matches(GRAPHS[case.name][graph](case.model).detach(), expected, f"graph {graph}")
    assert_matches(case.scores(), case.expected["scores"], "scores")


@pytest.mark.parametrize("name", NAMES)
def test_oracle_names_every_trainable_parameter_once(case: Case) -> None:
    size = sum(case.expected[f"param/{name}"].size for name in case.oracle_names)
    assert size == sum(parameter.numel() for parameter in case.model.parameters())
    assert {case.part(name)[0] for name in case.oracle_names} == {name for name, _ in case.model.named_parameters()}


@pytest.mark.parametrize("name", NAMES)
def test_oracle_losses_and_gradients_of_both_batches(case: Case) -> None:
    for batch, loss, gradient in zip(
        case.batches, ("loss", "loss_second_batch"), ("grad", "grad_second_batch"), strict=True
    ):
        assert_matches(case.step(batch), case.expected[loss], loss)
        for parameter, found in case.gradients().items():
            assert_matches(found, case.expected[f"{gradient}/{parameter}"], f"{gradient} of {parameter}")


@pytest.mark.parametrize("name", NAMES)
def test_oracle_four_adam_steps(case: Case) -> None:
    optimizer = torch.optim.Adam(case.model.parameters(), lr=1e-2)
    losses = []
    for batch in case.batches * 2:
        losses.append(case.step(batch))
        optimizer.step()
    assert_matches(losses, case.expected["losses_four_steps"], "losses of four steps", tolerance=1e-3)
    assert_matches(case.scores(), case.expected["scores_after_four_steps"], "scores after four steps", tolerance=1e-3)
