"""A job whose backbone remembers what it was given, what it started from, and every triple."""

import functools
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from trustmm.backbone.base import Backbone, Batch
from trustmm.dataset.data import TrainData
from trustmm.job import Job


@dataclass
class Seen:
    """What the backbone saw."""

    train: TrainData = field(init=False)
    model: Backbone = field(init=False)
    weights: dict[str, Tensor] = field(default_factory=dict)
    triples: list[Tensor] = field(default_factory=list)


def watched(job: Job) -> tuple[Job, Seen]:
    """The job with its backbone's class derived from, and what that sees once the job has run."""
    seen = Seen()

    class Watched(job.backbone.func):
        def __init__(self, train: TrainData, **given: Any) -> None:
            super().__init__(train, **given)
            seen.train, seen.model = train, self
            seen.weights = {name: value.clone() for name, value in self.state_dict().items()}

        def loss_terms(self, batch: Batch) -> Any:
            seen.triples.append(torch.stack([batch.users, batch.positives, batch.negatives]))
            return super().loss_terms(batch)

    return replace(job, backbone=functools.partial(Watched, **job.backbone.keywords)), seen
