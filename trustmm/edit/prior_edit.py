"""Edge editing by a collaborative prior (the paper, Sec. 5.2)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Literal, get_args

import torch

from trustmm.dataset.data import TrainData
from trustmm.edit.amount import Amount
from trustmm.edit.base import Edit
from trustmm.edit.believed import Edited, completed, pruned, reweighed
from trustmm.edit.complete import strongest_pairs
from trustmm.edit.graphda import reselected
from trustmm.edit.proposal import Proposal, nothing
from trustmm.edit.prune import weakest_edges
from trustmm.exact import exact_share
from trustmm.graph.edges import Edges
from trustmm.graph.weighted import WeightedEdges
from trustmm.options.checks import Count, Share, Within
from trustmm.prior.lightgcn import Prior
from trustmm.prior.spectral import spectral_prior
from trustmm.store.cache import Cache
from trustmm.trust.content import Content, believed_content
from trustmm.trust.edges import CrossFit
from trustmm.trust.mismatch import ViewName
from trustmm.trust.places import NullName
from trustmm.trust.stored import Judge

Operation = Literal["complete", "prune", "reweigh", "graphda"]
Where = Literal["train_only", "graph_only", "both"]
RULES: Mapping[str, Callable[..., Edited]] = {"prune": pruned, "complete": completed, "reweigh": reweighed}
"""Operations that the evidence of folds can do."""
MEANS = {
    "prune": ("ratio",),
    "complete": ("ratio", "k_user", "k_item", "exclude_heldout"),
    "reweigh": ("ratio",),
    "graphda": ("k_user", "k_item", "k_among_users", "k_among_items", "threshold", "exclude_heldout"),
}
"""Options that an operation knows."""
CLICK_NEIGHBOURS = 20
"""By which features are judged."""


@dataclass(frozen=True, kw_only=True)
class PriorEdit(Edit):
    """Prune the weakest training edges or add the strongest missing ones, in supervision, propagation or both.

    Or change what carries messages alone: weigh it (`reweigh`) or select it anew (`graphda`).
    """

    op: Operation
    where: Where
    """`train_only`: positives of the triples; `graph_only`: edges that carry messages; `both`."""
    ratio: Share
    """Pairs removed or added, or weight taken away, as a share of the training edges; means nothing to `graphda`."""
    amount: Literal["fixed", "auto"]
    """`fixed`: `ratio`; `auto`: by cross-validation over edges, see `Amount`; means nothing to `graphda`."""
    evidence: Literal["prior", "folds"]
    """`prior`: similarity under the prior, which knows every edge that it judges; `folds`: p-values under cheap priors
    that do not, see `CrossFit`. `auto` and `reweigh` always go by folds."""
    against: NullName
    """What p-values compare with: pairs drawn `uniform`, or with a `degree` as observed (its root)."""
    content: bool
    """Whether the content of items testifies beside clicks where folds are asked, as far as its features are believed;
    their probabilities are those of `rectifier=trust` with its usual options, of the mean of a feature's frames."""
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
        """What determines the result: options that mean nothing to the operation do not."""
        known = [name for name in ("op", "where", *MEANS[self.op]) if name != "ratio" or not self.chooses]
        named = {name: getattr(self, name) for name in known}
        folds = {"evidence": "folds", "against": self.against} if self.by_folds else {}
        content = {"content": True} if self.needs_features else {}
        return named | folds | content | ({"amount": "auto"} if self.chooses else {})

    @property
    def chooses(self) -> bool:
        """Whether the amount is chosen by cross-validation."""
        return self.amount == "auto" and self.op in RULES

    @property
    def by_folds(self) -> bool:
        """Whether edges are judged by priors that did not see them."""
        return self.op in RULES and (self.evidence == "folds" or self.op == "reweigh" or self.chooses)

    @property
    def idle(self) -> bool:  # type: ignore[override]
        """Whether it changes nothing, and asks for no prior."""
        return self.op != "graphda" and not self.ratio and not self.chooses

    @property
    def needs_features(self) -> bool:  # type: ignore[override]
        """Whether it looks at item features."""
        return self.content and self.by_folds and not self.idle

    @property
    def leaves_no_positives(self) -> bool:  # type: ignore[override]
        """Whether nothing is left to train on."""
        return self.op == "prune" and self.ratio == 1 and self.where != "graph_only" and not self.chooses

    @property
    def wants_graph_only(self) -> bool:  # type: ignore[override]
        """Whether it is asked to edit the supervision, which it keeps."""
        return self.op in ("graphda", "reweigh") and self.where != "graph_only"

    @property
    def needs_propagation(self) -> bool:  # type: ignore[override]
        """Whether it means nothing to a backbone that sends no messages."""
        return self.where == "graph_only"

    def __call__(
        self, train: TrainData, prior: Callable[[], Prior], *, seed: int, cache: Cache, device: torch.device
    ) -> Proposal:
        """What to change.

        Args:
            train: the data as observed, left as they are; the supervision edges are ranked.
            prior: gives the similarities; where edges are judged by folds, asked for its anchors alone if content is.
            seed: of the folds, and of the trust in features.
            cache: where what the folds said is kept.
            device: where candidates are searched.

        Raises: ValueError if there are not enough candidates.
        """
        edges = train.supervision
        if self.op == "graphda":
            return self._in_place_of(edges, self._reselected(prior(), device))
        if self.idle:
            return nothing(train)
        if self.by_folds:
            content = self._content(train, prior, seed, cache, device) if self.needs_features else {}
            return self._by_folds(edges, content, seed, cache, device)
        return self._from(edges, self._by_similarity(edges, prior, exact_share(self.ratio, len(edges)), device))

    def _by_similarity(self, edges: Edges, prior: Callable[[], Prior], count: int, device: torch.device) -> Edges:
        if not count:
            return edges
        if self.op == "prune":
            return edges.without(weakest_edges(edges, prior(), count))
        found = strongest_pairs(edges, prior(), count, k_user=self.k_user, k_item=self.k_item, device=device)
        return edges.union(found)

    def _content(
        self, train: TrainData, prior: Callable[[], Prior], seed: int, cache: Cache, device: torch.device
    ) -> dict[str, Content]:
        judge = Judge(get_args(ViewName), CLICK_NEIGHBOURS, seed, cache, device)
        return believed_content(train.features, judge.features(train, prior().item_ID), seed)

    def _by_folds(
        self, edges: Edges, content: Mapping[str, Content], seed: int, cache: Cache, device: torch.device
    ) -> Proposal:
        cross = CrossFit(edges, fit=spectral_prior, null=self.against, seed=seed, content=content)
        rule = partial(RULES[self.op], k_user=self.k_user, k_item=self.k_item, device=device)
        amount = Amount(cross, rule, None if self.chooses else self.ratio, cache)
        return self._from(edges, amount.edited(amount.ratio), amount)

    def _from(self, edges: Edges, edited: Edges, amount: Amount | None = None) -> Proposal:
        """The change from the edges to the edited ones."""
        if isinstance(edited, WeightedEdges):
            return self._in_place_of(edges, edited, amount)
        return Proposal(
            edges.without(edited),
            edited.without(edges),
            supervision=self.where != "graph_only",
            propagation=self.where != "train_only",
            exclude_heldout=self.exclude_heldout,
            amount=amount,
        )

    def _in_place_of(self, edges: Edges, graph: WeightedEdges, amount: Amount | None = None) -> Proposal:
        """Another graph to carry messages."""
        removed, added = edges.without(graph), graph.without(edges)
        exclude = self.exclude_heldout
        return Proposal(
            removed, added, supervision=False, propagation=True, exclude_heldout=exclude, graph=graph, amount=amount
        )

    def _reselected(self, prior: Prior, device: torch.device) -> WeightedEdges:
        return reselected(
            prior,
            k_user=self.k_user,
            k_item=self.k_item,
            k_among_users=self.k_among_users,
            k_among_items=self.k_among_items,
            threshold=self.threshold,
            device=device,
        )
