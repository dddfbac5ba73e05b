"""What a job expects of a corruption."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from trustmm.dataset.data import Dataset, TrainData
from trustmm.graph.edges import Edges


@dataclass(frozen=True, eq=False)
class Damage:
    """What was injected. For diagnostics only: no method may see it, apart from the ratio `eta` (see `rho`)."""

    eta: Mapping[str, float]
    """Share of items with damaged features, by modality."""
    touched: Mapping[str, NDArray[np.bool_]]
    """The chosen items of each modality, (I,), the same for every kind; a moved row may come back to its item."""
    added: Edges
    """Spurious training pairs."""
    deleted: Edges
    """Lost training pairs."""
    wrong_frames: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)
    """The frames that are not their item's, by modality with a time axis, (N,)."""


class Corruption:
    """Damages the training data. A subclass says how; the rest of this class fits the smallest of them."""

    @property
    def needs_features(self) -> bool:
        """Whether it damages features, which the data must then have."""
        return False

    def words(self) -> Sequence[str]:
        """What the name of a run says of it."""
        return [type(self).__name__.lower()]

    def tags(self) -> Mapping[str, object]:
        """What one may search runs by, in the tracking store."""
        return {}

    def settled(self, modalities: Sequence[str]) -> "Corruption":
        """The same damage to these modalities as it is written down, so that one damage has one identity."""
        return self

    def check_fit(self, data: Dataset) -> None:
        """Raise ValueError if it does not fit these data."""

    def __call__(self, train: TrainData, *, observed: Edges) -> tuple[TrainData, Damage]:
        """Damaged copy of `train`, and what was done.

        Args:
            train: clean training data, left as they are.
            observed: pairs of all splits.
        """
        raise NotImplementedError


def no_damage(train: TrainData) -> Damage:
    """A report of nothing, to start from with `dataclasses.replace`."""
    none = Edges.from_keys(np.empty(0, dtype=np.int64), train.num_users, train.num_items)
    nobody = {name: np.zeros(train.num_items, dtype=bool) for name in train.features}
    return Damage(dict.fromkeys(train.features, 0.0), nobody, none, none)
