"""The protocol: who is evaluated, on which items, under which masks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, get_args

import numpy as np
import torch

from trustmm.evaluation.metrics import Metric, PerUser, mean_metrics, per_user_metrics
from trustmm.evaluation.ranking import Ranker, Scorer
from trustmm.graph.edges import Edges, IntArray
from trustmm.options.checks import Count, Function
from trustmm.store.plugins import function

Mask = Literal["clean", "corrupted", "edited"]
MASKS: tuple[Mask, ...] = get_args(Mask)


@dataclass(frozen=True, eq=False)
class Scores:
    """What one evaluation found."""

    users: IntArray
    """The evaluated users, (V,)."""
    per_user: Mapping[str, PerUser]
    """By mask and metric, one value per evaluated user (V,)."""
    headline: str
    """The mask whose numbers lead."""

    @property
    def means(self) -> dict[str, float]:
        """Mean over users of every metric under the headline mask."""
        return mean_metrics(self.per_user[self.headline])

    def means_of(self, mask: str) -> dict[str, float]:
        """Mean over users of every metric under one mask."""
        return mean_metrics(self.per_user[mask])


class Evaluator:
    """Ranks one held-out split, as often as asked.

    Users without held-out items or without clean training items are left out; they are the same in every cell of a
    sweep, whatever was corrupted or edited.

    Args:
        held_out: validation or test pairs.
        masks: training positives hidden from the ranking, by mask name; must contain "clean".
        headline: name of the mask whose numbers lead.
        cutoffs: list lengths.
        batch_size: users scored at a time.
        device: where the scores are computed.
        metrics: more metrics by name.
    """

    def __init__(
        self,
        held_out: Edges,
        masks: Mapping[str, Edges],
        *,
        headline: str,
        cutoffs: Sequence[int],
        batch_size: int,
        device: torch.device,
        metrics: Mapping[str, Metric] = MappingProxyType({}),
    ) -> None:
        known = masks["clean"].user_degree[held_out.users] > 0
        self.pairs = Edges.from_keys(held_out.keys[known], held_out.num_users, held_out.num_items)
        self.headline, self.cutoffs, self.metrics = headline, cutoffs, metrics
        self.ranker = Ranker(self.pairs, masks, depth=max(cutoffs), batch_size=batch_size, device=device)

    def __call__(self, scorer: Scorer) -> Scores:
        """Metrics of these scores, per user and mask."""
        ranks = self.ranker.ranks(scorer)
        per_user = {mask: per_user_metrics(self.pairs, ranks[mask], self.cutoffs, self.metrics) for mask in ranks}
        return Scores(np.unique(self.pairs.users), per_user, self.headline)


@dataclass(frozen=True, kw_only=True)
class FullRanking:
    """Every evaluated user ranks all items; nothing is sampled (the paper, Sec. 6.1.3)."""

    cutoffs: Sequence[Count]
    """List lengths k."""
    filter: Mask
    """Whose training positives are hidden in the headline: `clean` (fair), `corrupted` or `edited`."""
    batch_size: Count
    """Users scored at a time; no influence on the numbers."""
    metrics: Mapping[str, Function]
    """More metrics by name, functions of plugins."""

    def __post_init__(self) -> None:
        if 10 not in self.cutoffs:
            raise ValueError(f"evaluation.cutoffs must contain 10 (early stopping uses it), got {list(self.cutoffs)}")
        for path in self.metrics.values():
            function(path)

    def identity(self) -> Mapping[str, object]:
        """What determines the result."""
        more = {"metrics": dict(self.metrics)} if self.metrics else {}
        return {"cutoffs": self.cutoffs, "filter": self.filter, **more}

    def evaluator(self, held_out: Edges, masks: Mapping[str, Edges], device: torch.device) -> Evaluator:
        """An evaluator of these pairs under several masks; the mask "clean" says which users are known."""
        return Evaluator(
            held_out,
            masks,
            headline=self.filter,
            cutoffs=self.cutoffs,
            batch_size=self.batch_size,
            device=device,
            metrics={name: function(path) for name, path in self.metrics.items()},
        )
