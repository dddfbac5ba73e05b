"""Trainings with equal inputs are one training: whoever comes first makes it, the others read what it gave."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from trustmm.backbone.base import Embeddings
from trustmm.evaluation.ranking import Scorer
from trustmm.store.cache import Arrays, Cache
from trustmm.training.course import Epoch
from trustmm.training.loop import OnEpoch, Training, tell


@dataclass(frozen=True, eq=False)
class Trained:
    """What is left of a model when it is trained."""

    history: list[Epoch]
    final: Scorer
    """Of the best weights, on the training device."""


def train_once(
    train: Callable[[], Trained],
    key: Mapping[str, Any],
    *,
    training: Training,
    stage: str,
    cache: Cache,
    on_epoch: OnEpoch,
) -> Trained:
    """The training of this key, from the cache if any job has made it before; its epochs are told either way.

    Only final representations are kept: a model whose scores are no products of them is made again, which costs little.

    Args:
        train: makes it, and tells `on_epoch` of its epochs.
        key: everything that it depends on.
        training: its options.
        stage: name in progress.
        cache: where history and embeddings are kept.
        on_epoch: told of every epoch, with the seconds that it took when it was made.
    """
    fresh: list[Trained] = []

    def compute() -> Arrays:
        fresh.append(train())
        final = fresh[0].final
        if not isinstance(final, Embeddings):
            raise _NotKeptError
        history = json.dumps([asdict(epoch) for epoch in fresh[0].history])
        return {"user_UD": _array(final.user_UD), "item_ID": _array(final.item_ID), "history": np.array(history)}

    try:
        stored = cache.arrays("training", key, compute)
    except _NotKeptError:
        return fresh[0]
    if fresh:
        return fresh[0]
    history = [Epoch(**epoch) for epoch in json.loads(str(stored["history"]))]
    tell(history, training, stage, on_epoch)
    rows = (torch.from_numpy(stored[name]).to(training.torch_device) for name in ("user_UD", "item_ID"))
    return Trained(history, Embeddings(*rows))


class _NotKeptError(Exception):
    """Leaves the cache's lock without an entry."""


def _array(rows: torch.Tensor) -> np.ndarray[Any, np.dtype[np.float32]]:
    return rows.detach().cpu().numpy()
