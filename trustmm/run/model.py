"""A trained backbone on disk: weights as plain arrays beside the job's configuration, no pickle, and back again."""

# Shapes: B users that are asked about, I items, k recommended ones.

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from omegaconf import DictConfig, OmegaConf

from trustmm.dataset.data import Dataset
from trustmm.graph.neighbours import NeighbourSearch
from trustmm.job import choosable_of
from trustmm.run.cell import LABELS, build_cell, identity_facts, open_cache
from trustmm.run.environment import environment
from trustmm.run.rectified import edited
from trustmm.seeding import stream
from trustmm.store.cache import UNUSABLE
from trustmm.store.files import atomic
from trustmm.store.identity import changes, parts_of
from trustmm.store.job_folder import WEIGHTS, Stored, read_stored

if TYPE_CHECKING:
    from trustmm.backbone.base import Backbone

BLOCK = 1024
"""Users scored at a time."""


class Recommended(NamedTuple):
    """The best items of each user, best first."""

    items: NDArray[np.int64]
    """(B, k); -1 where a user has fewer items left."""
    scores: NDArray[np.float32]
    """(B, k); -inf where a user has fewer items left."""


def save_weights(folder: Path, weights: Mapping[str, NDArray[Any]]) -> None:
    """Keep the weights of a model as ``model.npz``."""
    with atomic(folder / WEIGHTS) as path:
        np.savez(path, **weights)  # type: ignore[arg-type]


def load_model(folder: Path) -> "Model":
    """The trained model of a finished job, rebuilt from its configuration, its data and its weights.

    Args:
        folder: of the job, ``outputs/JOB_ID``.

    Raises: ValueError if the weights were not kept, or the program or the data are no longer the same.
    """
    stored = read_stored(folder)
    if not (folder / WEIGHTS).is_file():
        raise ValueError(f"{folder} has no {WEIGHTS}: run the job again with keep_model=true to keep its weights")
    config = OmegaConf.create(dict(stored.summary["config"]))
    assert isinstance(config, DictConfig)
    config.tracking = {"_target_": "trustmm.tracking.mlflow.NoTracking", "uri": "none", "experiment": "none"}
    cell = build_cell(config, dict.fromkeys(LABELS, ""))
    job, data = cell.job, cell.read_data()
    facts = identity_facts(cell, data.identity)
    if facts["job_id"] != stored.summary["job_id"]:
        why = changes(parts_of(stored.summary), facts)
        raise ValueError(f"{folder} belongs to other code or other data; run the job again: {why}")
    train = edited(data, job, open_cache(config, environment(job.training.torch_device)))
    search = NeighbourSearch(job.training.torch_device, choosable_of(train))
    backbone = job.backbone(train, rng=stream(job.seed, "init"), neighbours=search)
    try:
        with (folder / WEIGHTS).open("rb") as handle, np.load(handle, allow_pickle=False) as kept:
            backbone.load_state_dict({name: torch.from_numpy(kept[name]) for name in kept.files})
    except (*UNUSABLE, RuntimeError, TypeError, AttributeError) as error:  # of an .npy, of other weights, of no numbers
        path, why = folder / WEIGHTS, " ".join(str(error).split())[:200]
        raise ValueError(f"{path} is damaged ({why}); remove it and run the job again, keep_model=true") from error
    return Model(stored, data, backbone.to(job.training.torch_device).eval())


@dataclass(frozen=True, eq=False)
class Model:
    """A trained backbone and the data that it was trained on."""

    stored: Stored
    data: Dataset
    backbone: "Backbone"

    def recommend(self, users: ArrayLike, k: int = 10, *, exclude_seen: bool = True) -> Recommended:
        """The `k` items with the highest scores for each user; of equal ones the smaller id first.

        Args:
            users: ids, (B,).
            k: at most the number of items is used.
            exclude_seen: leave out a user's training items.

        Raises: ValueError for an unknown user or k below 1.
        """
        if k < 1:
            raise ValueError(f"k must be at least 1, got {k}")
        ids, k = self._ids("user", users, self.data.num_users), min(k, self.data.num_items)
        found = [self._best(block, scores, k, exclude_seen) for block, scores in self._score_blocks(ids)]
        empty = Recommended(np.empty((0, k), dtype=np.int64), np.empty((0, k), dtype=np.float32))
        return Recommended(*(np.concatenate(part) for part in zip(*found, strict=True))) if found else empty

    def scores(self, users: ArrayLike, items: ArrayLike) -> NDArray[np.float32]:
        """The score of every pair users[n], items[n], (B,).

        Raises: ValueError for an unknown user or item, or unequal lengths.
        """
        user_B = self._ids("user", users, self.data.num_users)
        item_B = self._ids("item", items, self.data.num_items)
        if len(user_B) != len(item_B):
            raise ValueError(f"users and items must have one entry per pair, got {len(user_B)} and {len(item_B)}")
        distinct, place = np.unique(user_B, return_inverse=True)
        order = np.argsort(place, kind="stable")
        result = np.empty(len(user_B), dtype=np.float32)
        start = 0
        for block, scores in self._score_blocks(distinct):
            chosen = order[np.searchsorted(place[order], start) : np.searchsorted(place[order], start + len(block))]
            result[chosen] = scores[place[chosen] - start, item_B[chosen]]
            start += len(block)
        return result

    def _best(
        self, users: NDArray[np.int64], scores_BI: NDArray[np.float32], k: int, exclude_seen: bool
    ) -> Recommended:
        if exclude_seen:
            offsets = self.data.train.user_offsets
            for row, user in enumerate(users):
                scores_BI[row, self.data.train.items[offsets[user] : offsets[user + 1]]] = -np.inf
        index = np.argsort(-scores_BI, axis=1, kind="stable")[:, :k]
        best = np.take_along_axis(scores_BI, index, axis=1)
        return Recommended(np.where(np.isneginf(best), -1, index), best)

    @torch.no_grad()
    def _score_blocks(self, users: NDArray[np.int64]) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        scorer = self.backbone.scorer()
        for start in range(0, len(users), BLOCK):
            block = users[start : start + BLOCK]
            yield block, scorer.scores(torch.from_numpy(block)).cpu().numpy().copy()

    @staticmethod
    def _ids(kind: str, values: ArrayLike, count: int) -> NDArray[np.int64]:
        ids = np.atleast_1d(np.asarray(values))
        if ids.size and not np.issubdtype(ids.dtype, np.integer):
            raise ValueError(f"{kind}s must be integers, got {ids.dtype}")
        if ids.size and (ids.min() < 0 or ids.max() >= count):
            raise ValueError(f"{kind}s must be in [0, {count}), got [{ids.min()}, {ids.max()}]")
        return ids.astype(np.int64)
