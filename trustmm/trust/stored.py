"""Trust from the cache: whoever asks first has it judged."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from trustmm.dataset.data import TrainData
from trustmm.store.cache import Cache
from trustmm.store.digest import digest
from trustmm.store.identity import code_digest
from trustmm.trust.frames import judge_frames
from trustmm.trust.mismatch import Trust, ViewName, judge
from trustmm.trust.storey import Estimate

Anchors = NDArray[np.float32]


def judged(
    train: TrainData,
    anchors_ID: Anchors,
    *,
    views: Sequence[ViewName],
    k: int,
    seed: int,
    cache: Cache,
    device: torch.device,
) -> dict[str, Trust]:
    """The trust in every modality, see `judge`."""

    def compute() -> dict[str, NDArray[Any]]:
        edges = train.propagation
        found = judge(train.features, edges, anchors_ID, views=views, k=k, seed=seed, device=device)
        return {field: array for name, one in found.items() for field, array in _arrays(name, one)}

    stored = cache.arrays("trust", _key(train, anchors_ID, views, k, seed, judge.__module__), compute)
    return {name: _restored(name, stored) for name in train.features}


def judged_frames(
    name: str,
    train: TrainData,
    anchors_ID: Anchors,
    *,
    views: Sequence[ViewName],
    k: int,
    seed: int,
    cache: Cache,
    device: torch.device,
) -> Trust:
    """The trust in single frames of a modality, see `judge_frames`."""
    every = {other: [one.rows_NX, one.offsets] for other, one in train.frames.items()}
    key = _key(train, anchors_ID, views, k, seed, judge_frames.__module__) | {"frames": digest([name, every])}

    def compute() -> dict[str, NDArray[Any]]:
        return dict(_arrays(name, judge_frames(name, train, anchors_ID, views=views, k=k, seed=seed, device=device)))

    return _restored(name, cache.arrays("trust", key, compute))


def _key(
    train: TrainData, anchors_ID: Anchors, views: Sequence[ViewName], k: int, seed: int, module: str
) -> dict[str, Any]:
    edges = train.propagation
    return {
        "arrays": digest([edges.keys, edges.num_items, anchors_ID, dict(train.features)]),
        "options": {"views": list(views), "k": k},
        "seed": seed,
        "code": code_digest(module),
    }


def _arrays(name: str, trust: Trust) -> list[tuple[str, NDArray[Any]]]:
    views = [(f"{name}/view/{view}", values) for view, values in trust.views.items()]
    return [(f"{name}/probability", trust.probability), (f"{name}/eta", np.array(trust.eta)), *views]


def _restored(name: str, stored: Mapping[str, NDArray[Any]]) -> Trust:
    start = f"{name}/view/"
    views = {key.removeprefix(start): values for key, values in stored.items() if key.startswith(start)}
    return Trust(stored[f"{name}/probability"], Estimate(*stored[f"{name}/eta"].tolist()), views)
