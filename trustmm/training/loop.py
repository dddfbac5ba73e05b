"""The one training loop: triples in, best weights by validation out."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from trustmm.backbone.base import Backbone, Batch
from trustmm.checks import Count, Positive, Within
from trustmm.evaluation.full_ranking import Evaluator, Scores
from trustmm.graph.edges import Edges
from trustmm.seeding import stream
from trustmm.training.sampling import TripleSampler

CRITERION = "recall@10"
"""Validation metric of early stopping (the paper, Sec. 6.1.4)."""


@dataclass(frozen=True)
class Epoch:
    """One line of a training history."""

    epoch: int
    """From 0."""
    losses: Mapping[str, float]
    """Mean over batches of every loss term."""
    valid: Mapping[str, float]
    """Validation metrics under the headline mask."""
    best: bool
    """Whether this epoch's weights are the best so far."""
    train_seconds: float
    evaluation_seconds: float


class OnEpoch(Protocol):
    """Told of every finished epoch: progress, tracking, pruning."""

    def __call__(self, stage: str, epoch: Epoch, epochs: int, patience_left: int) -> None:
        """`stage` is "prior" or "backbone", `epochs` the most there can be."""


class BuildOptimizer(Protocol):
    """A torch optimiser waiting for its parameters and learning rate."""

    def __call__(self, params: Sequence[Tensor], *, lr: float) -> torch.optim.Optimizer:
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
    optimizer: BuildOptimizer
    device: Literal["auto", "cpu", "cuda"]
    """`auto` takes CUDA where there is one."""
    deterministic: bool
    """Only kernels with a fixed order of summation."""

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
) -> tuple[list[Epoch], Scores]:
    """Train until validation stops improving; the model ends with its best weights.

    Args:
        model: moved to the training device.
        supervision: positives of the triples.
        evaluate: validation.
        training: limits and optimiser.
        seed: of the named streams; each epoch has its own, so that an epoch does not depend on how one got there.
        stage: name in progress and streams.
        on_epoch: told of every epoch.

    Returns: the history, and the validation scores of the best weights.

    Raises: DivergedError naming epoch, batch and term.
    """
    with _reproducible(training, stream(seed, stage, "dropout")):
        return _fit(model.to(training.torch_device), supervision, evaluate, training, seed, stage, on_epoch)


def _fit(
    model: Backbone,
    supervision: Edges,
    evaluate: Evaluator,
    training: Training,
    seed: int,
    stage: str,
    on_epoch: OnEpoch,
) -> tuple[list[Epoch], Scores]:
    sampler = TripleSampler(supervision)
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = training.optimizer(parameters, lr=training.learning_rate)
    history: list[Epoch] = []
    best_value, best_epoch, best_weights, best_scores = -1.0, 0, {}, None
    for number in range(training.epochs):
        started = time.perf_counter()
        model.train()
        for group in optimizer.param_groups:
            group["lr"] = training.rate(model, number)
        model.begin_epoch(stream(seed, stage, "graph", str(number)))
        triples = torch.from_numpy(sampler.epoch(stream(seed, stage, "batches", str(number))))
        losses = train_epoch(model, optimizer, triples.to(training.torch_device), training.batch_size, number)
        trained = time.perf_counter()
        scores = validate(model, evaluate)
        better = scores.means[CRITERION] > best_value
        if better:
            best_value, best_epoch, best_scores = scores.means[CRITERION], number, scores
            best_weights = {name: value.detach().clone() for name, value in model.state_dict().items()}
        seconds = (trained - started, time.perf_counter() - trained)
        history.append(Epoch(number, losses, scores.means, better, *seconds))
        left = training.patience - (number - best_epoch)
        on_epoch(stage, history[-1], training.epochs, left)
        if left <= 0:
            break
    model.load_state_dict(best_weights)
    assert best_scores is not None
    return history, best_scores


def train_epoch(
    model: Backbone, optimizer: torch.optim.Optimizer, triples: Tensor, batch_size: int, number: int
) -> dict[str, float]:
    """One pass over the triples (3, E); mean loss terms. The device is asked for its numbers once, at the end."""
    terms: list[Mapping[str, Tensor]] = []
    for users, positives, negatives in triples.split(batch_size, dim=1):
        optimizer.zero_grad(set_to_none=True)
        terms.append(model.loss_terms(Batch(users, positives, negatives, batch_size)))
        torch.stack(tuple(terms[-1].values())).sum().backward()
        optimizer.step()
        terms[-1] = {name: term.detach() for name, term in terms[-1].items()}
    table = {name: torch.stack([step[name] for step in terms]).cpu() for name in terms[0]}
    for name, values in table.items():
        if not bool(torch.isfinite(values).all()):
            batch = int((~torch.isfinite(values)).nonzero()[0])
            raise DivergedError(
                f"loss term {name!r} is {values[batch].item()} at epoch {number}, batch {batch} of {len(values)}; "
                "try a smaller training.learning_rate, or look for extreme feature values"
            )
    return {name: float(values.double().mean()) for name, values in table.items()}


@torch.no_grad()
def validate(model: Backbone, evaluate: Evaluator) -> Scores:
    """Metrics of the model as it is; DivergedError if a score may be NaN or infinite, which would rank first."""
    model.eval()
    final = model.embeddings()
    largest = final.user_UD.norm(dim=1).max() * final.item_ID.norm(dim=1).max()
    if not bool(torch.isfinite(largest)):
        raise DivergedError("the model's scores are not finite; try a smaller training.learning_rate")
    return evaluate(final.user_UD, final.item_ID)


@contextmanager
def _reproducible(training: Training, rng: np.random.Generator) -> Iterator[None]:
    """Seed torch's global generator, which only dropout uses, and leave it as it was."""
    switch: Any = torch.utils.deterministic
    before, filled = torch.are_deterministic_algorithms_enabled(), switch.fill_uninitialized_memory
    devices = [torch.cuda.current_device()] if training.torch_device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(int(rng.integers(2**63)))
        torch.use_deterministic_algorithms(training.deterministic)
        switch.fill_uninitialized_memory = False  # a third of the time, and nothing here reads it
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(before)
            switch.fill_uninitialized_memory = filled
