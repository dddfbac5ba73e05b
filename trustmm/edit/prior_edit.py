"""Edge editing by a collaborative prior (the paper, Sec. 5.2)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

import torch

from trustmm.dataset.data import TrainData
from trustmm.edit.base import Edit
from trustmm.edit.complete import strongest_pairs
from trustmm.edit.graphda import reselected
from trustmm.edit.proposal import Proposal, nothing, without
from trustmm.edit.prune import weakest_edges
from trustmm.exact import exact_share
from trustmm.graph.edges import Edges
from trustmm.options.checks import Count, Share, Within
from trustmm.prior.lightgcn import Prior

Operation = Literal["complete", "prune", "graphda"]
Where = Literal["train_only", "graph_only", "both"]


@dataclass(frozen=True, kw_only=True)
class PriorEdit(Edit):
    """Prune the weakest training edges or add the strongest missing ones, in supervision, propagation or both.

    Or select what carries messages anew (`graphda`), which leaves the supervision as it is.
    """

    op: Operation
    where: Where
    """`train_only`: positives of the triples; `graph_only`: edges that carry messages; `both`."""
    ratio: Share
    """Pairs removed or added, as a share of the training edges; means nothing to `graphda`."""
    k_user: Count
    """Candidates of each user (Eq. 17), or the items that it chooses (`graphda`); means nothing to `prune`."""
    k_item: Count
    """Candidates of each item (Eq. 18), or the users that it chooses (`graphda`); means nothing to `prune`."""
    k_among_users: Annotated[int, Within("[0, inf)")]
    """Users that a user chooses; `graphda` alone."""
    k_among_items: Annotated[int, Within("[0, inf)")]
    """Items that an item chooses; `graphda` alone."""
    threshold: Annotated[float, Within("[0, 1)")]
    """Belief in a pair that keeps it, the sigmoid of its similarity; `graphda` alone."""
    exclude_heldout: bool
    """Take pairs of validation and test out of what was added; means nothing to `prune`."""

    def identity(self) -> Mapping[str, object]:
        """What determines the result: how pairs are completed does not where edges are pruned."""
        if self.op == "graphda":
            named = (
                "op",
                "where",
                "k_user",
                "k_item",
                "k_among_users",
                "k_among_items",
                "threshold",
                "exclude_heldout",
            )
            return {name: getattr(self, name) for name in named}
        common = {"op": self.op, "where": self.where, "ratio": self.ratio}
        if self.op == "prune":
            return common
        return common | {"k_user": self.k_user, "k_item": self.k_item, "exclude_heldout": self.exclude_heldout}

    @property
    def idle(self) -> bool:  # type: ignore[override]
        """Whether it changes nothing, and asks for no prior."""
        return self.op != "graphda" and not self.ratio

    @property
    def leaves_no_positives(self) -> bool:  # type: ignore[override]
        """Whether nothing is left to train on."""
        return self.op == "prune" and self.ratio == 1 and self.where != "graph_only"

    @property
    def wants_graph_only(self) -> bool:  # type: ignore[override]
        """Whether it is asked to edit the supervision, which it keeps."""
        return self.op == "graphda" and self.where != "graph_only"

    @property
    def needs_propagation(self) -> bool:  # type: ignore[override]
        """Whether it means nothing to a backbone that sends no messages."""
        return self.where == "graph_only"

    def __call__(self, train: TrainData, prior: Callable[[], Prior], *, device: torch.device) -> Proposal:
        """What to change.

        Args:
            train: the data as observed, left as they are; the supervision edges are ranked.
            prior: gives the similarities.
            device: where candidates are searched.

        Raises: ValueError if there are not enough candidates.
        """
        edges, none = train.supervision, nothing(train)
        if self.op == "graphda":
            return self._reselected(edges, prior(), device)
        count = exact_share(self.ratio, len(edges))
        if not count:
            return none
        removed, added = none.removed, none.added
        if self.op == "prune":
            removed = weakest_edges(edges, prior(), count)
        else:
            added = strongest_pairs(edges, prior(), count, k_user=self.k_user, k_item=self.k_item, device=device)
        return Proposal(
            removed,
            added,
            supervision=self.where != "graph_only",
            propagation=self.where != "train_only",
            exclude_heldout=self.exclude_heldout,
        )

    def _reselected(self, edges: Edges, prior: Prior, device: torch.device) -> Proposal:
        graph = reselected(
            prior,
            k_user=self.k_user,
            k_item=self.k_item,
            k_among_users=self.k_among_users,
            k_among_items=self.k_among_items,
            threshold=self.threshold,
            device=device,
        )
        removed, added = without(edges, graph), without(graph, edges)
        return Proposal(
            removed, added, supervision=False, propagation=True, exclude_heldout=self.exclude_heldout, graph=graph
        )
