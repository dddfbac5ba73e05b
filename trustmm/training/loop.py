"""The one training loop: triples in, best weights by validation out."""

import copy
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from trustmm.backbone.base import Backbone, Batch
from trustmm.backbone.draws import Draws
from trustmm.evaluation.full_ranking import Evaluator, Scores
from trustmm.evaluation.ranking import Scorer
from trustmm.graph.edges import Edges
from trustmm.options.checks import Count, NonNegative, Positive, Seed, Within
from trustmm.seeding import stream
from trustmm.training.checkpoint import Checkpoint, NoCheckpoint
from trustmm.training.course import Course, Epoch, pack, unpack
from trustmm.training.lazy import follow, settle
from trustmm.training.sampling import TripleSampler

log = logging.getLogger(__name__)


class OnEpoch(Protocol):
    """Told of every finished epoch: progress, tracking, pruning."""

    def __call__(self, stage: str, epoch: Epoch, epochs: int, patience_left: int) -> None:
        """`stage` is "prior" or "backbone", `epochs` the most there can be."""


class BuildOptimizer(Protocol):
    """A torch optimiser waiting for its parameters, learning rate and weight decay."""

    def __call__(self, params: Sequence[Tensor], *, lr: float, weight_decay: float) -> torch.optim.Optimizer:
        """The optimiser."""


@dataclass(frozen=True, kw_only=True)
class Training:
    """How every backbone is trained."""

    epochs: Count
    """Most epochs."""
    patience: Count
    """Epochs without a better validation Recall@10 before stopping."""
    batch_size: Count
    """Triples per step."""
    learning_rate: Positive
    lr_decay: Annotated[float, Within("(0, 1]")] | None
    """Factor on the learning rate per 50 epochs, stepped once an epoch; 1 is a constant rate, None what was published
    for the model (`Backbone.lr_decay`). So the prior of a job keeps its own schedule whatever backbone follows."""
    weight_decay: NonNegative | None
    """Factor of the weights in their gradient; None what was published for the model (`Backbone.weight_decay`)."""
    optimizer: BuildOptimizer
    device: Literal["auto", "cpu", "cuda"]
    """`auto` takes CUDA where there is one."""
    deterministic: bool
    """Only kernels with a fixed order of summation."""
    seed: Seed | None
    """Seed of what is drawn within an epoch: triples, dropout, dropped edges. None is the job's, which is also that of
    the initial weights; so either of the two can be held while the other varies. The prior has the job's."""
    average: Count
    """Epochs over which weights are averaged: validation, early stopping and the result look at a mean that moves
    1 / average of the way to the weights of each epoch. 1 takes the weights of the epoch themselves."""
    checkpoint_every: Annotated[int, Within("[0, inf)")]
    """Epochs between two checkpoints; 0 keeps none. No number depends on it."""

    @property
    def torch_device(self) -> torch.device:
        """The device that `device` names here; ValueError where CUDA is asked for and absent."""
        present = torch.cuda.is_available()
        if self.device == "cuda" and not present:
            raise ValueError("training.device is cuda, but torch sees no CUDA device here; use training.device=cpu")
        return torch.device("cuda" if present and self.device != "cpu" else "cpu")

    def rate(self, model: Backbone, epoch: int) -> float:
        """Learning rate of an epoch, counted from 0."""
        decay = model.lr_decay if self.lr_decay is None else self.lr_decay
        return self.learning_rate * decay ** (epoch / 50)

    def optimizer_of(self, model: Backbone) -> torch.optim.Optimizer | None:
        """The optimiser of a model's trainable parameters; None where it has none."""
        parameters = [each for each in model.parameters() if each.requires_grad]
        decay = model.weight_decay if self.weight_decay is None else self.weight_decay
        if not parameters:
            return None
        optimizer = self.optimizer(parameters, lr=self.learning_rate, weight_decay=decay)
        follow(model, optimizer, 2 * self.batch_size)
        return optimizer


class DivergedError(ArithmeticError):
    """A loss was NaN or infinite."""


def fit(
    model: Backbone,
    supervision: Edges,
    evaluate: Evaluator,
    training: Training,
    *,
    seed: int,
    stage: str,
    on_epoch: OnEpoch,
    checkpoint: Checkpoint = NoCheckpoint(),  # noqa: B008  it has no state
) -> tuple[list[Epoch], Scores]:
    """Train until validation stops improving; the model ends with its best weights.

    A training that finds its checkpoint continues from there to the same numbers, bit for bit, as one that was never
    interrupted. It tells `on_epoch` of the epochs before, too, with the seconds that they took.

    A model without trainable parameters is evaluated once: a history of one epoch, without losses.

    Args:
        model: moved to the training device.
        supervision: positives of the triples.
        evaluate: validation.
        training: limits and optimiser.
        seed: of the named streams, unless `training` has its own; each epoch has its own streams, so that an epoch
            does not depend on how one got there.
        stage: name in progress and streams.
        on_epoch: told of every epoch.
        checkpoint: where the training is kept every `training.checkpoint_every` epochs; the caller clears it.

    Returns: the history, and the validation scores of the best weights.

    Raises: DivergedError naming epoch, batch and term.
    """
    model = model.to(training.torch_device)
    seed = seed if training.seed is None else training.seed
    optimizer = training.optimizer_of(model)
    if optimizer is None:
        return _evaluated_once(model, evaluate, training, stage, on_epoch)
    sampler = TripleSampler(supervision, negatives=model.uses_negatives)
    with deterministic(training):
        course = _started(model, optimizer, training, stage, on_epoch, checkpoint)
        while len(course.history) < training.epochs and course.patience_left(training.patience) > 0:
            number, started = len(course.history), time.perf_counter()
            model.draws = Draws(stream(seed, stage, "draws", str(number)))
            _begin_epoch(model, optimizer, training.rate(model, number), stream(seed, stage, "graph", str(number)))
            triples = torch.from_numpy(sampler.epoch(stream(seed, stage, "batches", str(number))))
            losses = train_epoch(model, optimizer, triples.to(training.torch_device), training.batch_size, number)
            course.include(model, training.average)
            with course.averaged(model):
                _judge(model, evaluate, course, losses, started)
            on_epoch(stage, course.history[-1], training.epochs, course.patience_left(training.patience))
            if training.checkpoint_every and len(course.history) % training.checkpoint_every == 0:
                _keep(checkpoint, pack(course, model, optimizer), stage)
    model.load_state_dict(course.best_weights)
    assert course.best_scores is not None
    return course.history, course.best_scores


def _evaluated_once(
    model: Backbone, evaluate: Evaluator, training: Training, stage: str, on_epoch: OnEpoch
) -> tuple[list[Epoch], Scores]:
    course = Course()
    with deterministic(training):
        _judge(model, evaluate, course, {}, time.perf_counter())
    assert course.best_scores is not None
    on_epoch(stage, course.history[0], 1, training.patience)
    return course.history, course.best_scores


def _keep(checkpoint: Checkpoint, state: dict[str, Any], stage: str) -> None:
    """Save a checkpoint; a full disk costs the checkpoint, not the training."""
    try:
        checkpoint.save(state)
    except (OSError, RuntimeError) as error:  # torch reports a failing disk as either
        log.warning("%s continues without a checkpoint, which could not be written: %s", stage, error)


def _started(
    model: Backbone,
    optimizer: torch.optim.Optimizer,
    training: Training,
    stage: str,
    on_epoch: OnEpoch,
    checkpoint: Checkpoint,
) -> Course:
    state = checkpoint.load() if training.checkpoint_every else None
    if state is not None and state.get("device", training.torch_device.type) != training.torch_device.type:
        log.warning("%s starts from the beginning: its checkpoint is of another device (%s)", stage, state["device"])
        state = None
    if state is None:
        return Course()
    fresh = copy.deepcopy(model.state_dict()), copy.deepcopy(optimizer.state_dict()), torch.get_rng_state()
    try:
        course = unpack(state, model, optimizer)
        last = course.history[-1].epoch
    except (LookupError, RuntimeError, ValueError, TypeError, AttributeError) as error:
        checkpoint.refuse(f"an entry is missing: {str(error).partition(chr(10))[0]}")
        model.load_state_dict(fresh[0])
        optimizer.load_state_dict(fresh[1])
        torch.set_rng_state(fresh[2])
        return Course()
    threads = torch.get_num_threads()
    if training.torch_device.type == "cpu" and state.get("threads", threads) != threads:
        log.warning("%s continues with %d threads, not %d: last digits may differ", stage, threads, state["threads"])
    checkpoint.continued()
    log.info("%s continues after epoch %d, from its checkpoint", stage, last)
    tell(course.history, training, stage, on_epoch)
    return course


def tell(history: Sequence[Epoch], training: Training, stage: str, on_epoch: OnEpoch) -> None:
    """Tell of epochs that were finished before, as when they were."""
    for number, epoch in enumerate(history):
        left = Course(list(history[: number + 1])).patience_left(training.patience)
        on_epoch(stage, epoch, training.epochs, left)


def _begin_epoch(model: Backbone, optimizer: torch.optim.Optimizer, rate: float, rng: np.random.Generator) -> None:
    model.train()
    for group in optimizer.param_groups:
        group["lr"] = rate
    model.begin_epoch(rng)


def _judge(model: Backbone, evaluate: Evaluator, course: Course, losses: Mapping[str, float], started: float) -> None:
    """Validate the model after an epoch that began at `started`, and add the epoch to the course."""
    trained = time.perf_counter()
    scores = validate(model, evaluate)
    better = course.improves(scores)
    if better:
        course.best_scores = scores
        course.best_weights = {name: value.detach().clone() for name, value in model.state_dict().items()}
    seconds = (trained - started, time.perf_counter() - trained)
    course.history.append(Epoch(len(course.history), losses, scores.means, better, *seconds))


def train_epoch(
    model: Backbone, optimizer: torch.optim.Optimizer, triples: Tensor, batch_size: int, number: int
) -> dict[str, float]:
    """One pass over the triples (3, E), or pairs (2, E); mean loss terms.

    The device is asked for its numbers once, at the end.
    """
    terms: list[Mapping[str, Tensor]] = []
    for part in triples.split(batch_size, dim=1):
        optimizer.zero_grad(set_to_none=True)
        terms.append(model.loss_terms(Batch(part[0], part[1], part[2:].flatten(), batch_size)))
        torch.stack(tuple(terms[-1].values())).sum().backward()
        optimizer.step()
        terms[-1] = {name: term.detach() for name, term in terms[-1].items()}
    settle(model)
    table = {name: torch.stack([step[name] for step in terms]).cpu() for name in terms[0]}
    for name, values in table.items():
        if not bool(torch.isfinite(values).all()):
            batch = int((~torch.isfinite(values)).nonzero()[0])
            raise DivergedError(
                f"loss term {name!r} is {values[batch].item()} at epoch {number}, batch {batch} of {len(values)}; "
                "try a smaller training.learning_rate, or look for extreme feature values"
            )
    return {name: float(values.double().mean()) for name, values in table.items()}


def validate(model: Backbone, evaluate: Evaluator) -> Scores:
    """Metrics of the model as it is; raises as `final_scorer`."""
    return evaluate(final_scorer(model))


@torch.no_grad()
def final_scorer(model: Backbone) -> Scorer:
    """Scores of the model as it is; DivergedError if a score may be NaN or infinite, which would rank first."""
    model.eval()
    scorer = model.scorer()
    if not bool(torch.isfinite(scorer.largest())):
        raise DivergedError("the model's scores are not finite; try a smaller training.learning_rate")
    return scorer


@contextmanager
def deterministic(training: Training) -> Iterator[None]:
    """Let torch use kernels with a fixed order of summation only, if that is wanted, and leave it as it was."""
    switch: Any = torch.utils.deterministic
    before, filled = torch.are_deterministic_algorithms_enabled(), switch.fill_uninitialized_memory
    torch.use_deterministic_algorithms(training.deterministic)
    switch.fill_uninitialized_memory = False  # a third of the time, and nothing here reads it
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)
        switch.fill_uninitialized_memory = filled
