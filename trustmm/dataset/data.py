"""The two values that travel through a job: `Dataset` (everything) and `TrainData` (what a method may see)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from trustmm.dataset.frames import Frames
from trustmm.dataset.split import split_within_users
from trustmm.graph.edges import Edges, IntArray
from trustmm.store.digest import digest
from trustmm.store.identity import DataIdentity

Features = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True, eq=False)
class TrainData:
    """What a rectifier, an edit or a backbone sees. Nothing held out, no label of what was corrupted.

    Arrays are read by many and must never be modified in place.
    """

    supervision: Edges
    """Positives of the training triples, the paper's E_tr."""
    propagation: Edges
    """Edges that carry messages, the paper's E_prop."""
    features: Features
    """One matrix (I, d_m) per modality, float32, rows are item ids."""
    categories: IntArray | None = None
    """The category of each item, numbered from 0, (I,); None if the data have none."""
    choosable: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)
    """Items that others may choose in the item graph of a modality, (I,); all, where it is not named here."""
    frames: Mapping[str, Frames] = field(default_factory=dict)
    """Of modalities with a time axis; `features` has their mean."""

    @property
    def num_users(self) -> int:
        """U, users with or without edges."""
        return self.supervision.num_users

    @property
    def num_items(self) -> int:
        """I, items with or without edges."""
        return self.supervision.num_items


@dataclass(frozen=True, eq=False)
class Dataset:
    """Interactions split in three, item features by modality."""

    name: str
    train: Edges
    valid: Edges
    test: Edges
    features: Features
    provenance: Mapping[str, Any] | None = None
    """Where a prepared folder comes from, its ``dataset.json``; determines nothing."""
    categories: IntArray | None = None
    """The category of each item, numbered from 0, (I,); None if the data have none."""
    recipe: Mapping[str, Any] | None = None
    """Of drawn data: options and code of the generator, which determine everything."""
    frames: Mapping[str, Frames] = field(default_factory=dict)
    """Of modalities with a time axis; `features` has their mean."""

    @property
    def num_users(self) -> int:
        """U, the largest user id plus one."""
        return self.train.num_users

    @property
    def num_items(self) -> int:
        """I, the largest item id plus one."""
        return self.train.num_items

    @cached_property
    def observed(self) -> Edges:
        """Pairs of all three splits."""
        return self.train.union(self.valid).union(self.test)

    @cached_property
    def held_out(self) -> Edges:
        """Pairs of validation and test."""
        return self.valid.union(self.test)

    @property
    def identity(self) -> DataIdentity:
        """What the identity of a job takes from its data."""
        return DataIdentity(self.digest, tuple(sorted(self.features)))

    @cached_property
    def digest(self) -> str:
        """Hash of the recipe of drawn data, so that no bit of a machine's arithmetic counts; else of the content."""
        return self.content_digest if self.recipe is None else digest(self.recipe)

    @cached_property
    def content_digest(self) -> str:
        """Hash of everything in the data set but its name."""
        splits = {name: getattr(self, name).keys for name in ("train", "valid", "test")}
        known: dict[str, Any] = {} if self.categories is None else {"categories": self.categories}
        if self.frames:
            known["frames"] = {name: [frames.rows_NX, frames.offsets] for name, frames in self.frames.items()}
        shape = [self.num_users, self.num_items]
        return digest({"shape": shape, **splits, "features": dict(self.features), **known})

    def as_train_data(self) -> TrainData:
        """The clean training view: supervision and propagation are the training split."""
        return TrainData(self.train, self.train, self.features, self.categories, frames=self.frames)

    @classmethod
    def from_arrays(
        cls,
        users: ArrayLike,
        items: ArrayLike,
        *,
        features: Mapping[str, ArrayLike] | None = None,
        split: ArrayLike | None = None,
        name: str = "arrays",
        seed: int = 0,
    ) -> "Dataset":
        """A data set from arrays in memory.

        Args:
            users: of the pairs, numbered from 0, (E,).
            items: of the pairs, numbered from 0, (E,).
            features: by modality, one row per item, (I, d_m).
            split: 0 train, 1 validation, 2 test, (E,); None draws 8:1:1 within each user.
            name: a plain word.
            seed: of the drawn split.

        Raises: ValueError for arrays that do not fit together, a pair given twice, an empty split.
        """
        user_E, item_E = _whole_numbers("users", users), _whole_numbers("items", items)
        if len(user_E) != len(item_E) or not len(user_E):
            raise ValueError(f"users and items must have one entry per pair, got {len(user_E)} and {len(item_E)}")
        shape = int(user_E.max()) + 1, int(item_E.max()) + 1
        order = np.lexsort((item_E, user_E))
        user_E, item_E = user_E[order], item_E[order]
        label_E = split_within_users(user_E, seed) if split is None else _whole_numbers("split", split)[order]
        if np.setdiff1d(label_E, (0, 1, 2)).size or len(np.unique(label_E)) < 3:
            raise ValueError(f"split must have 0 (train), 1 (validation) and 2 (test), got {np.unique(label_E)}")
        parts = [Edges.of(user_E[label_E == label], item_E[label_E == label], *shape) for label in (0, 1, 2)]
        matrices = {key: _matrix(key, value, shape[1]) for key, value in (features or {}).items()}
        data = cls(name, parts[0], parts[1], parts[2], matrices)
        if len(data.observed) != len(user_E):
            raise ValueError("users and items must contain each pair once, even across splits")
        return data


def _whole_numbers(name: str, values: ArrayLike) -> NDArray[np.int64]:
    array = np.asarray(values)
    if array.ndim != 1 or not np.issubdtype(array.dtype, np.integer):
        raise ValueError(f"{name} must be a one-dimensional array of integers, got {array.dtype} {array.shape}")
    return array.astype(np.int64)


def _matrix(name: str, values: ArrayLike, num_items: int) -> NDArray[np.float32]:
    matrix = np.ascontiguousarray(values, dtype=np.float32)
    if matrix.ndim != 2 or len(matrix) != num_items or not np.isfinite(matrix).all():
        raise ValueError(f"features {name!r} must be finite, one row for each of {num_items} items, got {matrix.shape}")
    return matrix
