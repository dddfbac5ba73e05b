"""What every backbone promises; an option in conf/backbone is tested without being named here."""

import importlib
import inspect
import io
import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir  # noqa: TID251
from omegaconf import OmegaConf
from torch.testing import assert_close

from trustmm.backbone.base import Backbone, Batch
from trustmm.backbone.draws import Draws
from trustmm.cli.run import build_stages
from trustmm.dataset.data import Dataset, TrainData
from trustmm.graph.edges import Edges
from trustmm.graph.neighbours import NeighbourSearch
from trustmm.job import check_fit
from trustmm.options.build import build
from trustmm.options.config import config_folder, register
from trustmm.training.loop import train_epoch
from trustmm.training.sampling import TripleSampler

NUM_USERS, NUM_ITEMS, NUM_CATEGORIES, WIDTH, BATCH = 17, 29, 5, 8, 32
WIDTHS = {"visual": 5, "textual": 6, "acoustic": 7}
MODALITIES = [(), ("visual",), ("visual", "textual"), ("visual", "textual", "acoustic")]
LONELY_USER, LONELY_ITEM = 3, 4
"""Without any edge."""
MUTE_USER, MUTE_ITEM = 5, 6
"""With training edges, but none that carries messages."""
BLANK_ITEMS = (LONELY_ITEM, MUTE_ITEM, 7)
"""Zero feature rows in every modality."""
_BIASES = ("projections.visual.bias", "projections.textual.bias", "projections.acoustic.bias")
ZERO_GRADIENT = {
    "freedom": _BIASES,
    "mmgcf": _BIASES,
    "slmrec": ("keys.visual.bias", "keys.textual.bias", "keys.acoustic.bias"),
}
"""Parameters whose gradient is 0 by design: a bias cancels between two items, or among the logits of a row."""
NO_TIES = {"damrs": {"together_top": NUM_ITEMS}}
"""Options under which no choice falls to the smaller of two labels: then labels mean nothing."""
CHECKERBOARD = {"itemknncbf": {"k": NUM_ITEMS}}
"""Options under which half of the items are neighbours."""
NO_REFERENCE = {"deepstyle", "itemknn", "pop"}
"""Have no numbers of the reference implementation; what they must find is stated in their own tests."""
NOT_BY_COLOUR = {"pop", "mvgae"}
"""Cannot tell users by their colour: the same list for all; the worst of all negatives of a batch, of either colour."""

Maker = Callable[..., Backbone]


def options(folder: Path) -> dict[str, Path]:
    """The options of `folder` by name: whatever lies there."""
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


OPTIONS = options(config_folder() / "backbone")


def maker(path: Path, **changes: Any) -> Maker:
    """The backbone of an option, checked and built as in a job, at a small width."""
    options = OmegaConf.load(path)
    options.pop("defaults", None)  # open nodes: they matter to the command line only
    options.merge_with(({"embedding_dim": WIDTH} if "embedding_dim" in options else {}) | changes)
    return build(OmegaConf.create({"backbone": options}), "backbone")


def cases(found: dict[str, Path] = OPTIONS, among: Callable[[str], bool] = lambda stem: True) -> list[Any]:
    """Every option with every set of modalities that it takes."""
    return [
        pytest.param(stem, modalities, id=f"{stem}-{len(modalities)}")
        for (stem, path), modalities in itertools.product(found.items(), MODALITIES)
        if among(stem) and (modalities or not backbone_class(maker(path)).needs_features)
    ]


def trained(model: Backbone) -> bool:
    return any(parameter.requires_grad for parameter in model.parameters())


def backbone_class(make: Any) -> type[Backbone]:
    return make.func


def toy(modalities: tuple[str, ...], *, awkward: bool = False) -> TrainData:
    """Random pairs and features; `awkward`: with users, items and rows that have nothing."""
    rng = np.random.default_rng(7)
    chosen = rng.random((NUM_USERS, NUM_ITEMS)) < 0.25
    chosen[:, 0] |= ~chosen.any(axis=1)
    features = {m: rng.standard_normal((NUM_ITEMS, WIDTHS[m])).astype(np.float32) for m in modalities}
    carrying = chosen
    if awkward:
        chosen[LONELY_USER], chosen[:, LONELY_ITEM] = False, False
        chosen[MUTE_USER, MUTE_ITEM] = chosen[0, MUTE_ITEM] = True
        carrying = chosen.copy()
        carrying[MUTE_USER], carrying[:, MUTE_ITEM] = False, False
        for matrix in features.values():
            matrix[list(BLANK_ITEMS)] = 0
    supervision, propagation = (Edges.of(*mask.nonzero(), NUM_USERS, NUM_ITEMS) for mask in (chosen, carrying))
    return TrainData(supervision, propagation, features, np.arange(NUM_ITEMS) % NUM_CATEGORIES)


def make_model(stem: str, train: TrainData, seed: int = 0, **changes: Any) -> Backbone:
    return maker(OPTIONS[stem], **changes)(train, rng=np.random.default_rng(seed), neighbours=NeighbourSearch())


def epoch_batches(train: TrainData) -> list[Batch]:
    triples = torch.from_numpy(TripleSampler(train.supervision).epoch(np.random.default_rng(1)))
    return [Batch(*columns, BATCH) for columns in triples.split(BATCH, dim=1)]


def begin_epoch(model: Backbone, number: int = 0) -> None:
    """As the training loop does."""
    model.train()
    model.draws = Draws(np.random.default_rng(100 + number))
    model.begin_epoch(np.random.default_rng(number))


def train_epochs(model: Backbone, train: TrainData, epochs: int = 1, rate: float = 0.05) -> None:
    if not trained(model):
        return
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.Adam(trainable, lr=rate)
    sampler = TripleSampler(train.supervision, negatives=model.uses_negatives)
    for number in range(epochs):
        begin_epoch(model, number)
        train_epoch(model, optimizer, torch.from_numpy(sampler.epoch(np.random.default_rng(number))), BATCH, number)


@torch.no_grad()
def scores(model: Backbone) -> torch.Tensor:
    model.eval()
    return model.scorer().scores(torch.arange(NUM_USERS))


def is_trained(stem: str) -> bool:
    return trained(make_model(stem, toy(MODALITIES[-1])))


@pytest.mark.parametrize("stem", OPTIONS)
def test_numbers_of_the_reference_are_in_the_repository_for_every_backbone(stem: str, project: Path) -> None:
    """So that a public clone, which has no folder beside it, tests them all."""
    module = importlib.import_module(f"tests.backbone.test_{stem}")
    files = [
        file for one in vars(module).values() if hasattr(one, "assert_scores") for file in getattr(one, "files", ())
    ]
    assert bool(files) != (stem in NO_REFERENCE)
    assert [file for file in files if not (project / "tests" / "oracles" / f"{file}.npz").is_file()] == []


@pytest.fixture
def train(modalities: tuple[str, ...]) -> TrainData:
    return toy(modalities)


@pytest.mark.parametrize(("stem", "modalities"), cases())
class TestEveryBackbone:
    def test_scores_and_losses_have_the_promised_shapes(self, stem: str, train: TrainData) -> None:
        model = make_model(stem, train)
        found = scores(model)
        assert found.shape == (NUM_USERS, NUM_ITEMS)
        assert found.dtype == torch.float32
        assert model.scorer().num_items == NUM_ITEMS
        assert found.abs().max() <= 1.0001 * model.scorer().largest() < torch.inf
        some = torch.tensor([5, 0, 5])
        assert_close(model.scorer().scores(some), found[some], rtol=1e-5, atol=1e-6)
        begin_epoch(model)
        if trained(model):
            terms = model.loss_terms(epoch_batches(train)[0])
            assert terms
            assert all(term.shape == () for term in terms.values())

    def test_nothing_is_infinite_where_nodes_and_rows_are_empty(self, stem: str, modalities: tuple[str, ...]) -> None:
        assert_trains_on_finite_numbers(stem, toy(modalities, awkward=True))

    @pytest.mark.parametrize("value", [0.0, 3.0])
    def test_nothing_is_infinite_where_all_items_have_the_same_features(
        self, stem: str, modalities: tuple[str, ...], value: float
    ) -> None:
        """The ends of the curves `corruption.kind=missing` and `constant`."""
        train = toy(modalities)
        same = {name: np.full_like(matrix, value) for name, matrix in train.features.items()}
        assert_trains_on_finite_numbers(stem, replace(train, features=same))

    def test_same_seed_gives_same_numbers(self, stem: str, train: TrainData) -> None:
        models = [make_model(stem, train, seed) for seed in (0, 0, 1)]
        for model in models:
            train_epochs(model, train)
        first, again, other = (scores(model) for model in models)
        assert_close(first, again, rtol=0, atol=0)
        assert torch.equal(first, other) != trained(models[0])

    def test_saved_weights_give_the_same_scores(self, stem: str, train: TrainData) -> None:
        model, other = make_model(stem, train), make_model(stem, train, seed=1)
        train_epochs(model, train)
        scores(other)
        file = io.BytesIO()
        torch.save(model.state_dict(), file)
        file.seek(0)
        other.load_state_dict(torch.load(file, weights_only=True))
        assert_close(scores(other), scores(model), rtol=0, atol=0)

    def test_relabelling_users_and_items_permutes_the_scores(self, stem: str, train: TrainData) -> None:
        rng = np.random.default_rng(3)
        new_user, new_item = rng.permutation(NUM_USERS), rng.permutation(NUM_ITEMS)
        old_user, old_item = np.argsort(new_user), np.argsort(new_item)
        supervision, propagation = (
            Edges.of(new_user[edges.users], new_item[edges.items], NUM_USERS, NUM_ITEMS)
            for edges in (train.supervision, train.propagation)
        )
        assert train.categories is not None
        features = {m: x[old_item] for m, x in train.features.items()}
        relabelled = TrainData(supervision, propagation, features, train.categories[old_item])
        model, other = (
            make_model(stem, data, seed, **NO_TIES.get(stem, {})) for seed, data in enumerate((train, relabelled))
        )
        train_epochs(model, train)
        order = {NUM_USERS: old_user, NUM_ITEMS: old_item}
        order[NUM_USERS + NUM_ITEMS] = np.concatenate([old_user, NUM_USERS + old_item])
        state = {name: value[order[len(value)]] if len(value) in order else value for name, value in state_of(model)}
        other.load_state_dict(state)
        assert_close(scores(other)[new_user][:, new_item], scores(model), rtol=1e-4, atol=1e-5)

    def test_data_are_left_as_they_are(self, stem: str, train: TrainData, modalities: tuple[str, ...]) -> None:
        train_epochs(make_model(stem, train), train, epochs=2)
        fresh = toy(modalities)
        for edges, untouched in ((train.supervision, fresh.supervision), (train.propagation, fresh.propagation)):
            np.testing.assert_array_equal(edges.users, untouched.users)
            np.testing.assert_array_equal(edges.items, untouched.items)
        for name, matrix in train.features.items():
            np.testing.assert_array_equal(matrix, fresh.features[name])

    def test_evaluation_does_not_depend_on_what_training_is_doing(self, stem: str, train: TrainData) -> None:
        model = make_model(stem, train)
        before = scores(model)
        assert_close(scores(model), before, rtol=0, atol=0)
        begin_epoch(model, 5)
        for batch in epoch_batches(train)[: 2 * trained(model)]:
            model.loss_terms(batch)
            assert_close(scores(model), before, rtol=0, atol=0)
            model.train()


@pytest.mark.parametrize(("stem", "modalities"), cases(among=is_trained))
class TestEveryTrainedBackbone:
    def test_negatives_are_used_where_they_are_asked_for(self, stem: str, train: TrainData) -> None:
        model, batch = make_model(stem, train), epoch_batches(train)[0]
        losses = []
        for negatives in (batch.negatives, (batch.negatives + 1) % NUM_ITEMS):
            begin_epoch(model)
            given = replace(batch, negatives=negatives if model.uses_negatives else negatives[:0])
            losses.append(torch.stack(tuple(model.loss_terms(given).values())).sum())
        assert torch.equal(*losses) != model.uses_negatives

    def test_every_trainable_parameter_gets_a_gradient_in_each_epoch(
        self, stem: str, modalities: tuple[str, ...], train: TrainData
    ) -> None:
        model, by_design = make_model(stem, train), ZERO_GRADIENT.get(stem, ())
        for number in range(2):
            model.zero_grad(set_to_none=True)
            begin_epoch(model, number)
            for batch in epoch_batches(train):
                torch.stack(tuple(model.loss_terms(batch).values())).sum().backward()
            for name, parameter in model.named_parameters():
                assert parameter.grad is not None, name
                if len(modalities) > 1 and name not in by_design:  # attention over one modality is constant
                    assert bool(parameter.grad.any()), f"gradient of {name} is 0"

    def test_an_evaluation_within_an_epoch_does_not_move_the_training(self, stem: str, train: TrainData) -> None:
        losses = []
        for evaluates in (False, True):
            model = make_model(stem, train)
            begin_epoch(model, 5)
            for batch in epoch_batches(train)[:2]:
                losses.append(torch.stack(tuple(model.loss_terms(batch).values())).detach())
                if evaluates:
                    scores(model)
                    model.train()
        assert_close(losses[:2], losses[2:], rtol=0, atol=0)


@pytest.mark.parametrize(("stem", "modalities"), cases(among=lambda stem: stem not in NOT_BY_COLOUR))
def test_held_out_cells_of_a_checkerboard_rank_first(stem: str, modalities: tuple[str, ...]) -> None:
    train, held_out = checkerboard(modalities)
    model = make_model(stem, train, **CHECKERBOARD.get(stem, {}))
    train_epochs(model, train, epochs=12, rate=0.03)
    found = scores(model)
    found[train.supervision.users, train.supervision.items] = -torch.inf
    np.testing.assert_array_equal(found.argmax(dim=1).numpy(), held_out)


def assert_trains_on_finite_numbers(stem: str, train: TrainData) -> None:
    """Losses, gradients and scores stay finite over two epochs."""
    model = make_model(stem, train)
    for _ in range(2):
        begin_epoch(model)
        for batch in epoch_batches(train) if trained(model) else ():
            model.zero_grad(set_to_none=True)
            terms = model.loss_terms(batch)
            torch.stack(tuple(terms.values())).sum().backward()
            assert all(bool(term.isfinite()) for term in terms.values()), terms
            for name, parameter in model.named_parameters():
                largest = 0.0 if parameter.grad is None else parameter.grad.abs().max().item()
                assert largest < 1e3, f"gradient of {name}"  # also false for NaN
        train_epochs(model, train)
        assert bool(scores(model).isfinite().all())


def state_of(model: Backbone) -> list[tuple[str, torch.Tensor]]:
    return list(model.state_dict().items())


def checkerboard(modalities: tuple[str, ...]) -> tuple[TrainData, np.ndarray]:
    """Users like the items of their own colour; one such item of each user is held out."""
    users, items = np.arange(NUM_USERS), np.arange(NUM_ITEMS)
    chosen = users[:, None] % 2 == items % 2
    held_out = 2 * (users * 5 % (NUM_ITEMS // 2)) + users % 2
    chosen[users, held_out] = False
    rng = np.random.default_rng(0)
    noise = {m: rng.standard_normal((NUM_ITEMS, WIDTHS[m])).astype(np.float32) for m in modalities}
    colour = np.where(items % 2, 1.0, -1.0).astype(np.float32)[:, None]
    edges = Edges.of(*chosen.nonzero(), NUM_USERS, NUM_ITEMS)
    features = {m: colour + np.float32(0.3) * x for m, x in noise.items()}
    return TrainData(edges, edges, features, items % NUM_CATEGORIES), held_out


def test_there_are_seven_published_backbones() -> None:
    assert {"bpr", "lightgcn", "vbpr", "freedom", "lattice", "mgcn", "smore"} <= OPTIONS.keys()


def test_a_new_yaml_is_an_option_and_is_put_to_these_tests(tmp_path: Path) -> None:
    """As in docs/adding.md; nothing names it but its file."""
    folder = tmp_path / "backbone"
    folder.mkdir()
    text = OPTIONS["lightgcn"].read_text(encoding="utf-8")
    (folder / "mine.yaml").write_text(text.replace("num_layers: 2", "num_layers: 5"), encoding="utf-8")
    assert [case.id for case in cases(options(folder))] == ["mine-0", "mine-1", "mine-2", "mine-3"]
    register()
    with initialize_config_dir(version_base="1.3", config_dir=str(config_folder())):
        search = f"hydra.searchpath=[file://{tmp_path}]"
        config = compose("config", overrides=[search, "backbone=mine", "tracking=none"])
    job, _, _ = build_stages(config)
    assert backbone_class(job.backbone) is backbone_class(maker(OPTIONS["lightgcn"]))
    assert job.backbone.keywords["num_layers"] == 5  # type: ignore[attr-defined]


@pytest.mark.parametrize("stem", [stem for stem, path in OPTIONS.items() if backbone_class(maker(path)).needs_features])
def test_a_backbone_that_needs_features_is_refused_without(stem: str) -> None:
    train = toy(())
    data = Dataset("toy", train.supervision, train.supervision, train.supervision, {})
    job: Any = SimpleNamespace(backbone=maker(OPTIONS[stem]))
    name = backbone_class(job.backbone).__name__
    with pytest.raises(ValueError, match=f"the backbone {name} needs item features, but dataset 'toy' has none"):
        check_fit(job, data)


@pytest.mark.parametrize("stem", OPTIONS)
def test_constructor_takes_what_a_job_gives_and_no_defaults(stem: str) -> None:
    parameters = inspect.signature(backbone_class(maker(OPTIONS[stem]))).parameters
    assert ["train", "rng", "neighbours"] == list(parameters)[:3]
    assert all(parameter.default is parameter.empty for parameter in parameters.values())
    assert all(parameter.kind is parameter.KEYWORD_ONLY for name, parameter in parameters.items() if name != "train")


@pytest.mark.parametrize("stem", [stem for stem, path in OPTIONS.items() if "trainable_features" in path.read_text()])
def test_frozen_features_stay_what_they_were(stem: str) -> None:
    train = toy(("visual", "textual"))
    model = make_model(stem, train, trainable_features=False)
    train_epochs(model, train)
    weights = dict(model.named_parameters())
    for name, matrix in train.features.items():
        np.testing.assert_array_equal(weights[f"features.{name}"].numpy(force=True), matrix)


@pytest.mark.parametrize("stem", [stem for stem, path in OPTIONS.items() if backbone_class(maker(path)).propagates])
def test_messages_travel_over_propagation_edges_alone(stem: str) -> None:
    train = toy(("visual", "textual"), awkward=True)
    all_carry = replace(train, propagation=train.supervision)
    other_supervision = replace(train, supervision=train.propagation)
    expected = scores(make_model(stem, train))
    assert_close(scores(make_model(stem, other_supervision)), expected, rtol=0, atol=0)
    assert not torch.equal(scores(make_model(stem, all_carry)), expected)
