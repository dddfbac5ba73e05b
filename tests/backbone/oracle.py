"""Numbers of the public reference implementation, and how a model is put to them; see oracles/README.md.

A test file holds one model: a class that inherits `OracleTests`, says how the model is built from the oracle's options,
and which parameter here (or which part of one) each of the oracle's parameters is. Shapes, depths and weights come from
the files, so that another set of files passes unchanged.
"""

import fnmatch
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

from trustmm.backbone.base import Backbone, Batch
from trustmm.backbone.draws import Draws
from trustmm.dataset.data import TrainData
from trustmm.graph.edges import Edges
from trustmm.graph.neighbours import NeighbourSearch

Arrays = Mapping[str, np.ndarray]
Options = Mapping[str, Any]
"""One model's part of config.json, with `modalities` in the oracle's order."""

USERS, ITEMS = "users of node_ND", "items of node_ND"
WHOLE = slice(None)
FEATURES = {
    "image_embedding.weight": "features.visual",
    "text_embedding.weight": "features.textual",
    "image_trs": "projections.visual",
    "text_trs": "projections.textual",
}
NODES = {"user_embedding.weight": USERS, "item_id_embedding.weight": ITEMS}


class Part(NamedTuple):
    """A parameter here, and which part of it."""

    parameter: str
    index: Any = WHOLE
    transposed: bool = False
    """The oracle stores the transpose; `index` is of ours, transposed."""

    def of(self, tensor: Tensor) -> Tensor:
        """The part, for reading."""
        return (tensor.T if self.transposed else tensor)[self.index]

    def put(self, tensor: Tensor, value: Tensor) -> None:
        (tensor.T if self.transposed else tensor)[self.index] = value.to(tensor.dtype)


def block_columns(theirs: Sequence[str], ours: Sequence[str], width: int) -> np.ndarray:
    """Our columns in the oracle's order, where both have a block of `width` columns for each name."""
    return np.concatenate([ours.index(name) * width + np.arange(width) for name in theirs])


class FixedDraws(Draws):
    """Draws that are handed in, by name; what nobody handed in is an error."""

    def __init__(self, arrays: Mapping[str, Any]) -> None:
        self.arrays = {name: torch.as_tensor(array) for name, array in arrays.items()}

    def keep(self, name: str, shape: tuple[int, ...], rate: float, rows: Tensor | None = None) -> Tensor:
        return self._drawn(name, shape, rows)

    def normal(self, name: str, shape: tuple[int, ...], rows: Tensor | None = None) -> Tensor:
        return self._drawn(name, shape, rows)

    def gumbel(self, name: str, shape: tuple[int, ...]) -> Tensor:
        return self._drawn(name, shape)

    def uniform(self, name: str) -> float:
        return float(self.arrays[name])

    def _drawn(self, name: str, shape: tuple[int, ...], rows: Tensor | None = None) -> Tensor:
        found = self.arrays[name] if rows is None else self.arrays[name][rows]
        assert tuple(found.shape) == shape, f"{name}: {tuple(found.shape)} handed in where {shape} is drawn"
        return found


@dataclass(frozen=True, eq=False)
class Case:
    """A backbone at the oracle's parameters, with what the oracle found."""

    options: Options
    model: Backbone
    expected: Arrays
    batches: tuple[Batch, Batch]
    names: Mapping[str, str | Part]
    held: frozenset[str]
    """Oracle names of parameters without a gradient to speak of, which keep still."""
    begin: Callable[[], None]
    """Begins an epoch, with the oracle's draws."""

    @property
    def oracle_names(self) -> list[str]:
        return [name.removeprefix("param/") for name in self.expected if name.startswith("param/")]

    def part(self, oracle_name: str) -> Part:
        """Our parameter, and the part of it, of a parameter of the oracle."""
        known = next((name for name in self.names if oracle_name == name or oracle_name.startswith(f"{name}.")), None)
        assert known is not None, f"{oracle_name} has no counterpart here"
        found = self.names[known]
        if found in (USERS, ITEMS):
            num_users = len(self.expected["scores"])
            return Part("node_ND", slice(num_users) if found == USERS else slice(num_users, None))
        if isinstance(found, Part):
            return found
        return Part(found + oracle_name.removeprefix(known))

    def set_parameters(self) -> None:
        ours = dict(self.model.named_parameters())
        with torch.no_grad():
            for name in self.oracle_names:
                part, value = self.part(name), torch.from_numpy(self.expected[f"param/{name}"])
                assert part.of(ours[part.parameter]).shape == value.shape, name
                part.put(ours[part.parameter], value)

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
            part = self.part(name)
            parameter = ours[part.parameter]
            found[name] = part.of(torch.zeros_like(parameter) if parameter.grad is None else parameter.grad).numpy()
        return found

    def hold(self) -> None:
        """Let the optimiser pass over what is held."""
        ours = dict(self.model.named_parameters())
        for part in (self.part(name) for name in self.held):
            gradient = ours[part.parameter].grad
            if part == Part(part.parameter):
                ours[part.parameter].grad = None
            elif gradient is not None:
                part.put(gradient, torch.zeros(()))

    @torch.no_grad()
    def scores(self) -> np.ndarray:
        """Scores of all pairs in evaluation mode."""
        self.model.eval()
        found = self.model.scorer().scores(torch.arange(len(self.expected["scores"])))
        self.model.train()
        return found.numpy()


class OracleScores:
    """Scores and graphs of one model, for every file of the oracle."""

    files: ClassVar[tuple[str, ...]]
    """Names in config.json."""
    names: ClassVar[Mapping[str, str | Part]] = {}
    """The oracle's parameters, or what their names begin with: ours."""
    graph: ClassVar[Mapping[str, Callable[[Any], Tensor]]] = {}
    sigmoid: ClassVar[bool] = False
    """The oracle's scores are the logistic function of ours."""

    def build(self, o: Options) -> Callable[..., Backbone]:
        """The model of these options, waiting for data."""
        raise NotImplementedError

    def names_of(self, o: Options) -> Mapping[str, str | Part]:
        return self.names

    def graphs_of(self, o: Options) -> Mapping[str, Callable[[Any], Tensor]]:
        return self.graph

    def draws_of(self, model: Any, drawn: Arrays) -> Mapping[str, Any]:
        """What the model draws, by its own names, from the oracle's `draw/NAME`."""
        return drawn

    def prepare(self, model: Any, drawn: Arrays) -> None:
        """Called after an epoch has begun: put in place what the oracle drew for it."""

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        if "file" in metafunc.fixturenames:
            metafunc.parametrize("file", self.files)

    @pytest.fixture(params=[torch.float32, torch.float64], ids=["float32", "float64"])
    def case(self, request: pytest.FixtureRequest, oracle_folder: Path, file: str) -> Case:
        inputs, expected = (dict(np.load(oracle_folder / f"{name}.npz")) for name in ("inputs", file))
        options = {"modalities": ["visual", "textual"]} | json.loads((oracle_folder / "config.json").read_text())[file]
        edges = Edges.of(inputs["train_user"], inputs["train_item"], *inputs["shape"].tolist())
        train = TrainData(edges, edges, {modality: inputs[modality] for modality in options["modalities"]})
        model = self.build(options)(train, rng=np.random.default_rng(0), neighbours=NeighbourSearch()).to(request.param)
        columns = [
            [torch.from_numpy(inputs[f"{which}_{part}"]) for part in ("user", "pos", "neg")]
            for which in ("batch", "second")
        ]
        first, second = (Batch(*triples, options["train_batch_size"]) for triples in columns)
        drawn = {name.removeprefix("draw/"): x for name, x in expected.items() if name.startswith("draw/")}

        def begin() -> None:
            model.train()
            model.draws = FixedDraws(self.draws_of(model, drawn))
            model.begin_epoch(np.random.default_rng(0))
            self.prepare(model, drawn)

        held = frozenset(options.get("zero_gradient", ()))
        found = Case(options, model, expected, (first, second), self.names_of(options), held, begin)
        found.set_parameters()
        begin()
        return found

    def assert_scores(self, case: Case, key: str = "scores", tolerance: float = 1e-4) -> None:
        found = case.scores()
        assert_matches(1 / (1 + np.exp(-found)) if self.sigmoid else found, case.expected[key], key, tolerance)

    def test_oracle_scores_and_graphs(self, case: Case) -> None:
        expected = {key.removeprefix("graph/"): x for key, x in case.expected.items() if key.startswith("graph/")}
        graphs = self.graphs_of(case.options)
        assert expected.keys() == graphs.keys()
        for name, graph in expected.items():
            assert_matches(graphs[name](case.model).detach(), graph, f"graph {name}")
        self.assert_scores(case)

    def test_oracle_names_every_trainable_parameter_once(self, case: Case) -> None:
        size = sum(case.expected[f"param/{name}"].size for name in case.oracle_names)
        assert size == sum(parameter.numel() for parameter in case.model.parameters())
        assert {case.part(name).parameter for name in case.oracle_names} == dict(case.model.named_parameters()).keys()


class OracleTests(OracleScores):
    """Also the losses and gradients of two batches, and four steps of Adam."""

    variants: ClassVar[tuple[str, ...]] = ("",)
    """Endings of the oracle's four-step arrays: "", "_frozen", "_decay"."""
    frozen: ClassVar[tuple[str, ...]] = ()
    """Patterns of the oracle's parameters that "_frozen" does not move."""

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        super().pytest_generate_tests(metafunc)
        if "variant" in metafunc.fixturenames:
            metafunc.parametrize("variant", self.variants, ids=lambda variant: variant or "plain")

    def test_oracle_losses_and_gradients_of_both_batches(self, case: Case) -> None:
        for batch, loss, gradient in zip(
            case.batches, ("loss", "loss_second_batch"), ("grad", "grad_second_batch"), strict=True
        ):
            assert_matches(case.step(batch), case.expected[loss], loss)
            for parameter, found in case.gradients().items():
                if parameter not in case.held:
                    assert_matches(found, case.expected[f"{gradient}/{parameter}"], f"{gradient} of {parameter}")

    def test_oracle_four_adam_steps(self, case: Case, variant: str) -> None:
        stored = {name.removeprefix("losses_four_steps") for name in case.expected if "losses_four_steps" in name}
        assert stored == set(self.variants)
        if variant == "_frozen":
            frozen = [name for name in case.oracle_names if any(fnmatch.fnmatch(name, part) for part in self.frozen)]
            assert frozen
            case = replace(case, held=case.held.union(frozen))
        decay = case.options["weight_decay"] if variant == "_decay" else 0.0
        optimizer = torch.optim.Adam(case.model.parameters(), lr=1e-2, weight_decay=decay)
        losses = []
        for batch in case.batches * 2:
            losses.append(case.step(batch))
            case.hold()
            optimizer.step()
        assert_matches(losses, case.expected[f"losses_four_steps{variant}"], "losses of four steps", tolerance=1e-3)
        self.assert_scores(case, f"scores_after_four_steps{variant}", tolerance=1e-3)


def assert_matches(found: Any, expected: Any, what: str, tolerance: float = 1e-4) -> None:
    """The oracles' own bound, elementwise: see oracles/README.md. It must never be loosened."""
    found, expected = np.asarray(found, dtype=np.float64), np.asarray(expected, dtype=np.float64)
    assert found.shape == expected.shape, f"{what}: {found.shape} where the oracle has {expected.shape}"
    atol = min(1e-6, max(1e-9, 1e-4 * np.abs(expected).max()))
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=atol, err_msg=what)
