"""The training loop: best weights, early stopping, divergence, streams."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from torch import Tensor, nn

from trustmm.backbone.base import Backbone, Batch, Embeddings
from trustmm.backbone.bpr import BPRMF
from trustmm.dataset.data import TrainData
from trustmm.evaluation.full_ranking import MASKS, Evaluator, FullRanking
from trustmm.graph.edges import Edges
from trustmm.graph.neighbours import NeighbourSearch
from trustmm.seeding import stream
from trustmm.training.checkpoint import Checkpoint, FileCheckpoint, NoCheckpoint
from trustmm.training.course import Epoch
from trustmm.training.loop import DivergedError, Training, fit, train_epoch, validate

NUM_USERS, NUM_ITEMS = 17, 29
TRAINING = Training(
    epochs=6,
    patience=30,
    batch_size=32,
    learning_rate=0.05,
    lr_decay=None,
    weight_decay=None,
    optimizer=torch.optim.Adam,
    device="cpu",
    deterministic=True,
    seed=None,
    average=1,
    checkpoint_every=0,
)


def make_splits() -> tuple[Edges, Edges]:
    keys = np.random.default_rng(0).permutation(NUM_USERS * NUM_ITEMS)
    return tuple(Edges.from_keys(np.sort(part), NUM_USERS, NUM_ITEMS) for part in (keys[:120], keys[120:180]))


def make_evaluator() -> Evaluator:
    train, valid = make_splits()
    protocol = FullRanking(cutoffs=[5, 10], filter="clean", metrics={}, batch_size=8)
    return protocol.evaluator(valid, dict.fromkeys(MASKS, train), torch.device("cpu"))


def make_bpr(seed: int = 0) -> BPRMF:
    train, _ = make_splits()
    rng, data = stream(seed, "init"), TrainData(train, train, {})
    return BPRMF(data, rng=rng, neighbours=NeighbourSearch(), embedding_dim=8, reg=0.0)


def run(
    model: Backbone,
    training: Training = TRAINING,
    *,
    seed: int = 0,
    stage: str = "backbone",
    told: Any = None,
    supervision: Edges | None = None,
    checkpoint: Checkpoint = NoCheckpoint(),  # noqa: B008  it has no state
) -> Any:
    def on_epoch(*call: Any) -> None:
        if told is not None:
            told.append(call)

    positives = make_splits()[0] if supervision is None else supervision
    return fit(
        model,
        positives,
        make_evaluator(),
        training,
        seed=seed,
        stage=stage,
        on_epoch=on_epoch,
        checkpoint=checkpoint,
    )


class Scripted(Backbone):
    """Validation quality by epoch as written: a share of the users has the held-out items first."""

    def __init__(self, quality: list[float], loss: list[float] | None = None) -> None:
        super().__init__()
        _, valid = make_splits()
        self.target = torch.zeros(NUM_USERS, NUM_ITEMS)
        self.target[valid.users, valid.items] = 1
        self.quality, self.loss = quality, loss
        self.weight = nn.Parameter(torch.zeros(1))
        self.register_buffer("epoch", torch.tensor(-1))
        self.seen: list[Batch] = []
        self.graphs: list[float] = []
        self.modes: list[bool] = []

    def begin_epoch(self, rng: np.random.Generator) -> None:
        self.epoch += 1
        self.seen.append([])
        self.graphs.append(rng.random())
        self.modes.append(self.training)

    def loss_terms(self, batch: Batch) -> dict[str, Tensor]:
        self.seen[-1].append(torch.stack([batch.users, batch.positives, batch.negatives]))
        value = 1.0 if self.loss is None else self.loss[min(len(self.seen[-1]) - 1, len(self.loss) - 1)]
        return {"bpr": value + 0 * self.weight.sum(), "reg": 0.5 + 0 * self.weight.sum()}

    def embeddings(self) -> Embeddings:
        self.modes.append(self.training)
        good = torch.arange(NUM_USERS) < self.quality[int(self.epoch)] * NUM_USERS
        return Embeddings(torch.where(good[:, None], self.target, -self.target), torch.eye(NUM_ITEMS))


def recalls(history: list[Epoch]) -> list[float]:
    return [epoch.valid["recall@10"] for epoch in history]


def test_training_learns_and_ends_with_the_best_weights() -> None:
    model = make_bpr()
    history, scores = run(model, replace(TRAINING, epochs=25))
    best = max(recalls(history))
    assert scores.means["recall@10"] == best
    assert validate(model, make_evaluator()).means == scores.means
    assert history[-1].losses["bpr"] < 0.5 * history[0].losses["bpr"]
    assert [epoch.epoch for epoch in history] == list(range(25))


def test_best_weights_are_those_of_the_best_epoch_and_not_the_last() -> None:
    model = Scripted([0.1, 0.9, 0.3, 0.2])
    history, scores = run(model, replace(TRAINING, epochs=4))
    assert int(model.epoch) == 1
    assert [epoch.best for epoch in history] == [True, True, False, False]
    assert scores.means["recall@10"] == recalls(history)[1] == max(recalls(history))


@pytest.mark.parametrize(
    ("patience", "lefts"),
    [
        (1, [1, 1, 0]),
        (2, [2, 2, 1, 0]),
        (3, [3, 3, 2, 1, 3, 2, 1, 0]),
        (30, [30, 30, 29, 28, 30, 29, 28, 27]),
    ],
)
def test_training_stops_after_patience_epochs_without_improvement(patience: int, lefts: list[int]) -> None:
    quality = [0.2, 0.5, 0.5, 0.4, 0.9, 0.1, 0.1, 0.1]
    told: list[Any] = []
    history, _ = run(Scripted(quality), replace(TRAINING, epochs=8, patience=patience), told=told)
    assert len(history) == len(lefts)
    assert [call[3] for call in told] == lefts


def test_an_equal_value_is_no_improvement() -> None:
    history, _ = run(Scripted([0.5, 0.5, 0.5]), replace(TRAINING, epochs=3))
    assert [epoch.best for epoch in history] == [True, False, False]


def test_a_recall_of_zero_still_gives_weights() -> None:
    model = Scripted([0.0, 0.0])
    history, scores = run(model, replace(TRAINING, epochs=2))
    assert history[0].best
    assert scores.means["recall@10"] == 0
    assert int(model.epoch) == 0


def test_callback_hears_of_every_epoch_with_the_stage() -> None:
    told: list[Any] = []
    history, _ = run(Scripted([0.1, 0.2]), replace(TRAINING, epochs=2), stage="prior", told=told)
    assert [call[:3] for call in told] == [("prior", history[0], 2), ("prior", history[1], 2)]
    assert history[0].losses == {"bpr": 1.0, "reg": 0.5}
    assert history[0].train_seconds > 0
    assert history[0].evaluation_seconds > 0


def test_model_trains_in_training_mode_and_is_judged_in_evaluation_mode() -> None:
    model = Scripted([0.1, 0.2])
    run(model, replace(TRAINING, epochs=2))
    assert model.modes == [True, False, True, False]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_divergence_names_epoch_batch_and_term(value: float) -> None:
    model = Scripted([0.1], loss=[1.0, 1.0, value, 1.0])
    message = rf"loss term 'bpr' is {value} at epoch 0, batch 2 of 4.*training.learning_rate"
    with pytest.raises(DivergedError, match=message):
        run(model)


def test_divergence_in_a_later_epoch_is_named() -> None:
    model = make_bpr()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    triples = torch.zeros(3, 5, dtype=torch.int64)
    with torch.no_grad():
        model.user_UD.fill_(float("nan"))
    with pytest.raises(DivergedError, match="at epoch 7, batch 0 of 3"):
        train_epoch(model, optimizer, triples, 2, 7)


def test_weights_that_diverge_in_the_last_step_are_not_a_perfect_ranking() -> None:
    model = make_bpr()
    with pytest.raises(DivergedError, match="scores are not finite; try a smaller training.learning_rate"):
        run(model, replace(TRAINING, epochs=1, batch_size=500, optimizer=torch.optim.SGD, learning_rate=1e38))


def test_mean_losses_weigh_batches_alike() -> None:
    model = Scripted([0.1], loss=[1.0, 2.0, 3.0, 6.0])
    history, _ = run(model, replace(TRAINING, epochs=1))
    assert history[0].losses["bpr"] == pytest.approx(3.0)


def test_gradients_do_not_leak_from_batch_to_batch() -> None:
    """Plain gradient descent, two batches: the second step must not contain the first gradient."""
    model = make_bpr()
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    triples = torch.tensor([[0, 1], [2, 3], [4, 5]])
    before = model.user_UD.detach().clone()
    train_epoch(model, optimizer, triples, 1, 0)
    moved = (model.user_UD.detach() - before).abs().amax(1) > 0
    other = make_bpr()
    train_epoch(other, torch.optim.SGD(other.parameters(), lr=1.0), triples[:, :1], 1, 0)
    assert_array_equal(np.flatnonzero(moved.numpy()), [0, 1])
    torch.testing.assert_close(model.user_UD[0], other.user_UD[0])


def test_equal_seeds_give_equal_histories_and_weights() -> None:
    runs = []
    for seed in (3, 3, 4):
        model = make_bpr()
        history, scores = run(model, seed=seed)
        runs.append(([(epoch.losses, epoch.valid) for epoch in history], model.state_dict(), scores))
    assert runs[0][0] == runs[1][0]
    assert all(torch.equal(runs[0][1][name], value) for name, value in runs[1][1].items())
    assert runs[0][0] != runs[2][0]


def test_global_generator_and_determinism_are_left_as_they_were() -> None:
    torch.manual_seed(11)
    before = torch.get_rng_state()
    run(Scripted([0.1, 0.2]), replace(TRAINING, epochs=2))
    assert torch.equal(torch.get_rng_state(), before)
    assert not torch.are_deterministic_algorithms_enabled()
    with pytest.raises(DivergedError):
        run(Scripted([0.1], loss=[float("nan")]))
    assert torch.equal(torch.get_rng_state(), before)
    assert not torch.are_deterministic_algorithms_enabled()


class Dropping(Scripted):
    """Notes the first mask of every epoch; `more` draws follow."""

    def __init__(self, quality: list[float], more: int = 0) -> None:
        super().__init__(quality)
        self.more, self.masks = more, []

    def begin_epoch(self, rng: np.random.Generator) -> None:
        super().begin_epoch(rng)
        self.masks.append(self.drop("mask", torch.ones(8, 8), 0.5).tolist())
        for _ in range(self.more):
            self.draws.normal("noise", (3,))


def test_masks_are_the_jobs_own_and_an_epochs_do_not_depend_on_those_before() -> None:
    def masks(outside: int, seed: int = 0, stage: str = "backbone", more: int = 0) -> list[Any]:
        torch.manual_seed(outside)
        model = Dropping([0.1, 0.2], more)
        run(model, replace(TRAINING, epochs=2), seed=seed, stage=stage)
        return model.masks

    first, second = masks(1)
    assert first != second
    assert masks(2, more=5) == [first, second]
    assert masks(1, seed=5)[0] != first
    assert masks(1, stage="prior")[0] != first


class NoNegatives(Scripted):
    uses_negatives = False


def test_no_negatives_are_drawn_for_a_model_that_uses_none() -> None:
    """Also where there could be none: a user with every item."""
    model = NoNegatives([0.1])
    model.loss_terms = lambda batch: model.seen[-1].append(batch) or {"loss": model.weight.sum()}  # type: ignore
    everything = Edges.of([0] * NUM_ITEMS, list(range(NUM_ITEMS)), NUM_USERS, NUM_ITEMS)
    run(model, replace(TRAINING, epochs=1, batch_size=20), supervision=everything)
    assert [(len(batch.users), len(batch.positives), batch.negatives.shape) for batch in model.seen[0]] == [
        (20, 20, (0,)),
        (9, 9, (0,)),
    ]


class Untrained(Backbone):
    """Popular items first."""

    def embeddings(self) -> Embeddings:
        degree = torch.from_numpy(make_splits()[0].item_degree).float()
        return Embeddings(torch.ones(NUM_USERS, 1), degree[:, None])


def test_a_model_without_parameters_is_evaluated_once(tmp_path: Path) -> None:
    told: list[Any] = []
    model, checkpoint = Untrained(), FileCheckpoint(tmp_path / "checkpoint.pt", {"seed": 0})
    history, scores = run(model, replace(TRAINING, checkpoint_every=1), told=told, checkpoint=checkpoint)
    assert told == [("backbone", history[0], 1, 30)]
    assert [(epoch.epoch, epoch.losses, epoch.best) for epoch in history] == [(0, {}, True)]
    assert scores.means == validate(model, make_evaluator()).means
    assert scores.means["recall@10"] > 0
    assert not list(tmp_path.iterdir())


def test_an_epochs_triples_do_not_depend_on_the_epochs_before() -> None:
    first, second = Scripted([0.1] * 4), Scripted([0.1, 0.9, 0.1, 0.1])
    run(first, replace(TRAINING, epochs=4))
    run(second, replace(TRAINING, epochs=4, learning_rate=1e-4, batch_size=7))
    for epoch in range(4):
        assert torch.equal(torch.cat(first.seen[epoch], 1), torch.cat(second.seen[epoch], 1))
    assert first.graphs == second.graphs
    assert len(set(first.graphs)) == 4
    assert not torch.equal(torch.cat(first.seen[0], 1), torch.cat(first.seen[1], 1))


def test_a_seed_of_the_training_is_that_of_its_epochs_whatever_the_job_has() -> None:
    def drawn(seed: int, own: int | None) -> tuple[Tensor, list[float], list[Any]]:
        model = Dropping([0.1])
        run(model, replace(TRAINING, epochs=1, seed=own), seed=seed)
        return torch.cat(model.seen[0], 1), model.graphs, model.masks

    for held, free in zip(drawn(5, own=0), drawn(0, own=None), strict=True):
        assert_array_equal(held, free)
    for one, other in zip(drawn(5, own=0), drawn(5, own=3), strict=True):
        assert not np.array_equal(one, other)


class Walking(Scripted):
    """Its weight is the number of the epoch, counted from 1; validation notes what it sees."""

    def __init__(self, quality: list[float]) -> None:
        super().__init__(quality)
        self.judged: list[float] = []

    def begin_epoch(self, rng: np.random.Generator) -> None:
        super().begin_epoch(rng)
        with torch.no_grad():
            self.weight.fill_(float(self.epoch) + 1)

    def embeddings(self) -> Embeddings:
        self.judged.append(self.weight.item())
        return super().embeddings()


def test_validation_and_result_have_the_mean_of_the_last_epochs_and_training_goes_on_from_its_own_weights() -> None:
    model = Walking([0.1, 0.2, 0.9, 0.3])
    optimizer = partial(torch.optim.SGD, momentum=0.0)
    run(model, replace(TRAINING, epochs=4, average=2, optimizer=optimizer))
    assert model.judged == [1.0, 1.5, 2.25, 3.125]
    assert model.weight.item() == 2.25
    assert model.epoch.item() == 2
    plain = Walking([0.1, 0.2, 0.9, 0.3])
    run(plain, replace(TRAINING, epochs=4, average=1, optimizer=optimizer))
    assert plain.judged == [1.0, 2.0, 3.0, 4.0]
    averaged = [make_bpr(), make_bpr()]
    histories = [run(model, replace(TRAINING, average=span))[0] for model, span in zip(averaged, (1, 3), strict=True)]
    assert [epoch.losses for epoch in histories[0]] == [epoch.losses for epoch in histories[1]]
    assert [epoch.valid for epoch in histories[0]] != [epoch.valid for epoch in histories[1]]


def test_stages_and_seeds_have_their_own_triples_and_graphs() -> None:
    seen, graphs = [], set()
    for seed, stage in ((0, "backbone"), (0, "prior"), (1, "backbone")):
        model = Scripted([0.1])
        run(model, replace(TRAINING, epochs=1), seed=seed, stage=stage)
        seen.append(torch.cat(model.seen[0], 1))
        graphs.add(model.graphs[0])
    assert len(graphs) == 3
    assert not torch.equal(seen[0], seen[1])
    assert not torch.equal(seen[0], seen[2])


def test_batches_hold_every_triple_of_the_epoch_once() -> None:
    model = Scripted([0.1])
    run(model, replace(TRAINING, epochs=1))
    assert [part.shape[1] for part in model.seen[0]] == [32, 32, 32, 24]
    users, positives, _ = torch.cat(model.seen[0], 1).numpy()
    assert_array_equal(np.sort(users * NUM_ITEMS + positives), make_splits()[0].keys)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("side", ["user_UD", "item_ID"])
def test_embeddings_that_are_not_finite_are_refused_by_validation(side: str, value: float) -> None:
    model = make_bpr()
    with torch.no_grad():
        getattr(model, side)[3, 2] = value
    with pytest.raises(DivergedError, match="scores are not finite"):
        validate(model, make_evaluator())


class Rates(Scripted):
    lr_decay = 0.5


@pytest.mark.parametrize(("lr_decay", "factor"), [(None, 0.5), (1.0, 1.0), (0.96, 0.96)])
def test_learning_rate_decays_by_the_factor_per_fifty_epochs(lr_decay: float | None, factor: float) -> None:
    rates: list[float] = []

    class Noting(torch.optim.SGD):
        def step(self, *arguments: Any) -> None:
            rates.append(self.param_groups[0]["lr"])

    training = replace(TRAINING, epochs=3, batch_size=500, optimizer=Noting, lr_decay=lr_decay)
    run(Rates([0.1] * 3), training)
    assert rates == pytest.approx([0.05 * factor ** (epoch / 50) for epoch in range(3)])


@pytest.mark.skipif(torch.cuda.is_available(), reason="asks what happens without CUDA")
def test_cuda_that_is_absent_is_refused_and_auto_takes_the_cpu() -> None:
    with pytest.raises(ValueError, match="training.device is cuda, but torch sees no CUDA device.*training.device=cpu"):
        _ = replace(TRAINING, device="cuda").torch_device
    assert replace(TRAINING, device="auto").torch_device == torch.device("cpu")
    assert TRAINING.torch_device == torch.device("cpu")


class Decaying(Scripted):
    weight_decay = 0.5


@pytest.mark.parametrize(("weight_decay", "expected"), [(None, 0.5), (0.0, 0.0), (0.25, 0.25)])
def test_weight_decay_is_the_published_one_unless_it_is_given(weight_decay: float | None, expected: float) -> None:
    """One step of gradient descent on a loss that does not depend on the weight: only the decay moves it."""
    model = Decaying([0.1])
    with torch.no_grad():
        model.weight.fill_(1.0)
    training = replace(
        TRAINING,
        epochs=1,
        batch_size=500,
        optimizer=torch.optim.SGD,
        learning_rate=0.1,
        weight_decay=weight_decay,
    )
    run(model, training)
    assert model.weight.item() == pytest.approx(1 - 0.1 * expected)
