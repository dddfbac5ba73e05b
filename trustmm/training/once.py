"""Trainings with equal inputs are one training: whoever comes first makes it, the others read what it gave."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from trustmm.backbone.base import Embeddings
from trustmm.evaluation.ranking import Scorer
from trustmm.store.cache import Arrays, Cache
from trustmm.training.course import Epoch
from trustmm.training.loop import OnEpoch, Training, tell

WEIGHT = "weight/"
"""Before the name of an array of weights in an entry."""


@dataclass(frozen=True, eq=False)
class Trained:
    """What is left of a model when it is trained."""

    history: list[Epoch]
    final: Scorer
    """Of the best weights, on the training device."""
    weights: Mapping[str, NDArray[Any]]
    """The best weights by name; empty where they come from the cache and were not asked for."""


def train_once(
    train: Callable[[], Trained],
    key: Mapping[str, Any],
    *,
    training: Training,
    stage: str,
    cache: Cache,
    on_epoch: OnEpoch,
    weights: bool,
    before: Callable[[], Sequence[Mapping[str, str]]],
) -> Trained:
    """The training of this key, from the cache if any job has made it before; its epochs are told either way.

    Final representations are kept, and the weights with them where they are asked for (kind "model"). A model whose
    scores are no products of representations is made again, which costs little.

    Args:
        train: makes it, and tells `on_epoch` of its epochs.
        key: everything that it depends on.
        training: its options.
        stage: name in progress.
        cache: where history and embeddings are kept.
        on_epoch: told of every epoch, with the seconds that it took when it was made.
        weights: whether they are asked for; then a training that was kept without them is made again.
        before: see `Cache.arrays`.
    """
    with_weights = cache.path("model", key)
    kind = "model" if weights or (with_weights is not None and with_weights.is_file()) else "training"
    fresh: list[Trained] = []

    def compute() -> Arrays:
        fresh.append(train())
        final = fresh[0].final
        if not isinstance(final, Embeddings):
            raise _NotKeptError
        history = json.dumps([asdict(epoch) for epoch in fresh[0].history])
        kept = {"user_UD": _array(final.user_UD), "item_ID": _array(final.item_ID), "history": np.array(history)}
        state = fresh[0].weights if kind == "model" else {}
        return kept | {f"{WEIGHT}{name}": value for name, value in state.items()}

    try:
        stored = cache.arrays(kind, key, compute, before=before)
    except _NotKeptError:
        return fresh[0]
    if fresh:
        return fresh[0]
    history = [Epoch(**epoch) for epoch in json.loads(str(stored["history"]))]
    tell(history, training, stage, on_epoch)
    rows = (torch.from_numpy(stored[name]).to(training.torch_device) for name in ("user_UD", "item_ID"))
    state = {name.removeprefix(WEIGHT): value for name, value in stored.items() if name.startswith(WEIGHT)}
    return Trained(history, Embeddings(*rows), state)


class _NotKeptError(Exception):
    """Leaves the cache's lock without an entry."""


def weights_of(model: torch.nn.Module) -> dict[str, NDArray[Any]]:
    """The weights of a model as arrays."""
    return {name: _array(value) for name, value in model.state_dict().items()}


def _array(rows: torch.Tensor) -> NDArray[Any]:
    array: NDArray[Any] = rows.detach().cpu().numpy()
    return array
