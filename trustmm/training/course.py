"""How far a training has come: everything that its next epoch depends on."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor

from trustmm.evaluation.full_ranking import Scores

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


@dataclass
class Course:
    """The finished epochs of a training, and the best of them."""

    history: list[Epoch] = field(default_factory=list)
    best_weights: Mapping[str, Tensor] = field(default_factory=dict)
    best_scores: Scores | None = None
    mean: dict[str, Tensor] = field(default_factory=dict)
    """Of the weights over the last epochs, by name of the parameter; empty where none is kept."""

    @torch.no_grad()
    def include(self, model: torch.nn.Module, span: int) -> None:
        """Move the mean 1 / span of the way to the model's weights; the first `span` epochs give the plain mean."""
        if span > 1:
            for name, weight in model.named_parameters():
                mean = self.mean.setdefault(name, weight.detach().clone())
                mean.lerp_(weight, 1 / min(len(self.history) + 1, span))

    @contextmanager
    def averaged(self, model: torch.nn.Module) -> Iterator[None]:
        """The model has the mean as its weights while the block runs, where one is kept."""
        current = {name: weight.data for name, weight in model.named_parameters() if name in self.mean}
        for name, weight in model.named_parameters():
            weight.data = self.mean.get(name, weight.data)
        try:
            yield
        finally:
            for name, weight in model.named_parameters():
                weight.data = current.get(name, weight.data)

    def improves(self, scores: Scores) -> bool:
        """Whether an epoch with these validation scores is the best so far."""
        return self.best_scores is None or scores.means[CRITERION] > self.best_scores.means[CRITERION]

    def patience_left(self, patience: int) -> int:
        """Epochs without a better one before stopping."""
        best = max((epoch.epoch for epoch in self.history if epoch.best), default=-1)
        return patience - (len(self.history) - 1 - best)


def pack(course: Course, model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Tensors and plain values from which `unpack` restores the three, bit for bit."""
    scores = course.best_scores
    assert scores is not None
    per_user = {mask: {name: torch.from_numpy(v) for name, v in part.items()} for mask, part in scores.per_user.items()}
    return {
        "history": [asdict(epoch) for epoch in course.history],
        "best_weights": dict(course.best_weights),
        "best_scores": {"users": torch.from_numpy(scores.users), "per_user": per_user, "headline": scores.headline},
        "mean": course.mean,
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "device": next(model.parameters()).device.type,
        "threads": torch.get_num_threads(),
    }


def unpack(state: Mapping[str, Any], model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> Course:
    """Restore model and optimiser, and return the course; all on the device of `pack`."""
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    scores = state["best_scores"]
    per_user = {mask: {name: v.numpy() for name, v in part.items()} for mask, part in scores["per_user"].items()}
    best = Scores(scores["users"].numpy(), per_user, scores["headline"])
    return Course([Epoch(**epoch) for epoch in state["history"]], state["best_weights"], best, state["mean"])
