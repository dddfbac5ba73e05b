"""Trainings with equal inputs are one training: whoever comes first makes it, the others read what it gave."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from trustmm.backbone.base import Backbone, Embeddings
from trustmm.evaluation.full_ranking import Evaluator
from trustmm.evaluation.ranking import Scorer
from trustmm.graph.edges import Edges
from trustmm.store.cache import Arrays, Cache
from trustmm.training.checkpoint import Checkpoint
from trustmm.training.course import Epoch
from trustmm.training.loop import OnEpoch, Training, final_scorer, fit

WEIGHT = "weight/"
"""Before the name of an array of weights in an entry."""


@dataclass(frozen=True, eq=False)
class Trained:
    """What is left of a model when it is trained."""

    history: list[Epoch]
    final: Scorer
    """Of the best weights, on the training device."""
    weights: Mapping[str, NDArray[Any]]
    """The best weights by name; empty where they were not asked for."""
    reused: bool = False
    """Whether another job made it, so that nobody was told of its epochs."""


def train_once(
    build: Callable[[], Backbone],
    supervision: Edges,
    evaluate: Evaluator,
    training: Training,
    *,
    kind: str,
    key: Mapping[str, Any],
    seed: int,
    stage: str,
    cache: Cache,
    on_epoch: OnEpoch,
    checkpoint: Checkpoint,
    weights: bool = False,
) -> Trained:
    """`fit`, or what the cache has of it if any job has done it before.

    Final representations are kept, and the weights with them where they are asked for (kind "model"). A model whose
    scores are no products of representations is made again, which costs little.

    Args:
        build: makes the model, before its training.
        supervision: see `fit`, as all that is not here.
        evaluate: validation.
        training: limits and optimiser.
        kind: names the cache entry.
        key: everything that the training depends on.
        seed: of the named streams.
        stage: name in progress and streams.
        cache: where history and embeddings are kept.
        on_epoch: told of every epoch, where it is made now.
        checkpoint: where an unfinished training is kept.
        weights: whether they are asked for; then a training that was kept without them is made again.
    """
    with_weights = cache.path("model", key)
    kind = "model" if weights or (with_weights is not None and with_weights.is_file()) else kind
    fresh: list[Trained] = []

    def compute() -> Arrays:
        model = build()
        history, _ = fit(
            model,
            supervision,
            evaluate,
            training,
            seed=seed,
            stage=stage,
            on_epoch=on_epoch,
            checkpoint=checkpoint,
        )
        final = final_scorer(model)
        fresh.append(Trained(history, final, weights_of(model) if kind == "model" else {}))
        if not isinstance(final, Embeddings):
            raise _NotKeptError
        told = json.dumps([asdict(epoch) for epoch in history])
        kept = {"user_UD": _array(final.user_UD), "item_ID": _array(final.item_ID), "history": np.array(told)}
        return kept | {f"{WEIGHT}{name}": value for name, value in fresh[0].weights.items()}

    try:
        stored = cache.arrays(kind, key, compute, before=lambda: checkpoint.before)
    except _NotKeptError:
        return fresh[0]
    if fresh:
        return fresh[0]
    history = [Epoch(**epoch) for epoch in json.loads(str(stored["history"]))]
    rows = (torch.from_numpy(stored[name]).to(training.torch_device) for name in ("user_UD", "item_ID"))
    state = {name.removeprefix(WEIGHT): value for name, value in stored.items() if name.startswith(WEIGHT)}
    return Trained(history, Embeddings(*rows), state, reused=True)


class _NotKeptError(Exception):
    """Leaves the cache's lock without an entry."""


def weights_of(model: torch.nn.Module) -> dict[str, NDArray[Any]]:
    """The weights of a model as arrays."""
    return {name: _array(value) for name, value in model.state_dict().items()}


def _array(rows: torch.Tensor) -> NDArray[Any]:
    array: NDArray[Any] = rows.detach().cpu().numpy()
    return array
