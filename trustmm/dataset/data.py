"""The two values that travel through a job: `Dataset` (everything) and `TrainData` (what a method may see)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trustmm.graph.edges import Edges
from trustmm.store.digest import digest

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
    choosable: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)
    """Items that others may choose in the item graph of a modality, (I,); all, where it is not named here."""

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

    @cached_property
    def digest(self) -> str:
        """Hash of everything in the data set but its name."""
        splits = {name: getattr(self, name).keys for name in ("train", "valid", "test")}
        return digest({"shape": [self.num_users, self.num_items], **splits, "features": dict(self.features)})

    def as_train_data(self) -> TrainData:
        """The clean training view: supervision and propagation are the training split."""
        return TrainData(self.train, self.train, self.features)
