"""Trust from the cache: whoever asks first has it judged."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Judge:
    """By what features are judged, and where the verdict is kept."""

    views: Sequence[ViewName]
    k: int
    """Neighbours in clicks."""
    seed: int
    cache: Cache
    device: torch.device

    def features(self, train: TrainData, anchors_ID: Anchors) -> dict[str, Trust]:
        """The trust in every modality, see `judge`."""

        def compute() -> dict[str, NDArray[Any]]:
            found = judge(train.features, train.propagation, anchors_ID, **self._options)
            return {field: array for name, one in found.items() for field, array in _arrays(name, one)}

        stored = self.cache.arrays("trust", self._key(train, anchors_ID, judge.__module__), compute)
        return {name: _restored(name, stored) for name in train.features}

    def frames(self, name: str, train: TrainData, anchors_ID: Anchors) -> Trust:
        """The trust in single frames of a modality, see `judge_frames`."""
        every = {other: [one.rows_NX, one.offsets] for other, one in train.frames.items()}
        key = self._key(train, anchors_ID, judge_frames.__module__) | {"frames": digest([name, every])}

        def compute() -> dict[str, NDArray[Any]]:
            return dict(_arrays(name, judge_frames(name, train, anchors_ID, **self._options)))

        return _restored(name, self.cache.arrays("trust", key, compute))

    @property
    def _options(self) -> dict[str, Any]:
        return {"views": self.views, "k": self.k, "seed": self.seed, "device": self.device}

    def _key(self, train: TrainData, anchors_ID: Anchors, module: str) -> dict[str, Any]:
        edges = train.propagation
        return {
            "arrays": digest([edges.keys, edges.num_items, anchors_ID, dict(train.features)]),
            "options": {"views": list(self.views), "k": self.k},
            "seed": self.seed,
            "code": code_digest(module),
        }


def _arrays(name: str, trust: Trust) -> list[tuple[str, NDArray[Any]]]:
    views = [(f"{name}/view/{view}", values) for view, values in trust.views.items()]
    return [(f"{name}/probability", trust.probability), (f"{name}/eta", np.array(trust.eta)), *views]


def _restored(name: str, stored: Mapping[str, NDArray[Any]]) -> Trust:
    start = f"{name}/view/"
    views = {key.removeprefix(start): values for key, values in stored.items() if key.startswith(start)}
    return Trust(stored[f"{name}/probability"], Estimate(*stored[f"{name}/eta"].tolist()), views)
