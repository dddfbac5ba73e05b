"""What an edit wants changed: a value that a job applies, so that no edit sees what is held out."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from trustmm.dataset.data import TrainData
from trustmm.graph.edges import Edges
from trustmm.graph.weighted import WeightedEdges

if TYPE_CHECKING:
    from trustmm.edit.amount import Amount


@dataclass(frozen=True, eq=False)
class Proposal:
    """Pairs to remove and pairs to add, and the edge sets that are to change."""

    removed: Edges
    """Training edges."""
    added: Edges
    """Pairs without a training edge, chosen without a look at validation or test; some may lie there."""
    supervision: bool
    """Whether the positives of the training triples change, E_tr."""
    propagation: bool
    """Whether the edges that carry messages change, E_prop."""
    exclude_heldout: bool
    """Whether added pairs of validation and test are taken out again, as the paper does."""
    graph: WeightedEdges | None = None
    """What carries messages in place of the training edges and the pairs added to them, if weights or links do."""
    amount: "Amount | None" = None
    """What folds of edges said, where they were asked."""

    @property
    def changes(self) -> bool:
        """Whether there is anything to remove, to add or to weigh."""
        return bool(len(self.removed) or len(self.added) or self.graph is not None)

    def additions(self, held_out: Edges) -> Edges:
        """The pairs that are added in the end.

        Args:
            held_out: pairs of validation and test; only those already chosen are looked up in it.
        """
        return self.added.without(held_out) if self.exclude_heldout else self.added

    def apply(self, train: TrainData, *, held_out: Edges) -> TrainData:
        """Edited copy of the data, or the data themselves if nothing changes.

        Args:
            train: the data that the proposal was made for, left as they are.
            held_out: pairs of validation and test, see `additions`.
        """
        if not self.changes:
            return train
        if self.graph is not None:
            taken_out = self.added.without(self.additions(held_out))
            return replace(train, propagation=self.graph.subset(np.flatnonzero(~taken_out.contains(self.graph.keys))))
        added = self.additions(held_out)
        supervision, propagation = (
            edges.without(self.removed).union(added) if edited else edges
            for edges, edited in ((train.supervision, self.supervision), (train.propagation, self.propagation))
        )
        return replace(train, supervision=supervision, propagation=propagation)


def nothing(train: TrainData) -> Proposal:
    """No change."""
    none = Edges.from_keys(np.empty(0, dtype=np.int64), train.num_users, train.num_items)
    return Proposal(none, none, supervision=False, propagation=False, exclude_heldout=True)
