"""How much to edit: the share whose edit helps to predict edges that were left out, 0 unless it clearly does."""

import functools
import logging
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trustmm.edit.believed import Edited
from trustmm.graph.edges import Edges
from trustmm.store.cache import Arrays, Cache
from trustmm.store.digest import digest
from trustmm.store.identity import code_digest
from trustmm.trust.edges import CLICKS, FOLDS, SURE, CrossFit, Judged, alignment
from trustmm.trust.storey import Estimate

log = logging.getLogger(__name__)
RATIOS = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2)
"""Among which one is chosen; the first changes nothing."""
Rule = Callable[[Judged], Edited]
"""An edit, see `trustmm.edit.believed`."""
Floats = NDArray[np.float64]
# Shapes: R ratios, K folds.


@dataclass(frozen=True, eq=False)
class Amount:
    """An edit by folds at any ratio, and the ratio that is right for it.

    Raises: ValueError if a rule needs more edges than there are.
    """

    cross: CrossFit
    rule: Rule
    fixed: float | None
    """The ratio; None chooses one of `RATIOS`."""
    cache: Cache

    @functools.cached_property
    def judged(self) -> Judged:
        """All edges, each by the prior without its fold."""
        cross = self.cross

        def compute() -> Arrays:
            found = cross.judged()
            return {"user_p": found.user_p, "item_p": found.item_p}

        stored = self.cache.arrays("edge_evidence", self._key(type(cross).__module__), compute)
        return cross.as_judged(stored["user_p"], stored["item_p"])

    @functools.cached_property
    def alignment(self) -> Estimate:
        """Of all edges."""
        return alignment(self.cross.edges, self.judged.user_p, self.cross.seed)

    @functools.cached_property
    def trials(self) -> Arrays:
        """What every ratio does in every fold, see `try_ratios`."""
        rule = self.rule.func if isinstance(self.rule, functools.partial) else self.rule
        options = {name: value for name, value in getattr(self.rule, "keywords", {}).items() if name != "device"}
        key = self._key(__name__, rule.__module__) | {"rule": rule.__name__, "options": options}
        return self.cache.arrays("edge_trials", key, lambda: try_ratios(self.cross, self.rule))

    @functools.cached_property
    def ratio(self) -> float:
        """The fixed or the chosen one; 0 where the prior knows nothing."""
        if self.fixed is not None:
            return self.fixed
        value, error = self.alignment
        aligned = value - 0.5 > SURE * error
        chosen = RATIOS[smallest_good(self.trials["gain"])] if aligned else 0.0
        log.info(
            "edit: alignment %.3f (standard error %.3f), %s", value, error, f"ratio {chosen:g}" if chosen else "no edit"
        )
        return chosen

    def edited(self, ratio: float) -> Edges:
        """All edges after the edit; the edges themselves at ratio 0."""
        return self._edit(ratio) if ratio else self.cross.edges

    @functools.cached_property
    def _edit(self) -> Edited:
        return self.rule(self.judged)

    def numbers(self) -> dict[str, float]:
        """What the folds said, as flat numbers."""
        value, error = self.alignment
        found = {"alignment": value, "alignment_error": error, "ratio": self.ratio}
        if self.cross.content:
            for name, one in self.cross.alignments().items():
                found["alignment_clicks" if name == CLICKS else f"content_alignment_{name}"] = one.value
        return found | (curve(self.trials, self.ratio) if self.fixed is None else {})

    def _key(self, *modules: str) -> dict[str, object]:
        edges = self.cross.edges
        return {
            "edges": digest([edges.keys, edges.num_users, edges.num_items]),
            "null": self.cross.null,
            "seed": self.cross.seed,
            "content": digest({name: [one.rows_IC, one.believed_I] for name, one in self.cross.content.items()}),
            "code": code_digest(*modules, self.cross.fit.__module__),
        }


def try_ratios(cross: CrossFit, rule: Rule) -> Arrays:
    """Edit the graph without each fold by each ratio, fit the prior anew, and see how it ranks the fold's edges.

    Spurious edges among those left out rank by chance at every ratio: they cost power, they do not mislead. Edges are
    judged by priors that saw neither them nor the fold, so that nothing is tested on what chose it.

    Args:
        cross: the graph in folds.
        rule: the edit.

    Returns: `gain`, mean of 1 - p over the left-out edges minus that without an edit, (R, K); `precision`, share of the
        added pairs that were left out, (R, K), NaN where none was added.
    """
    gain_RK, precision_RK = np.zeros((len(RATIOS), FOLDS)), np.full((len(RATIOS), FOLDS), np.nan)
    for fold in range(FOLDS):
        held, judged = cross.fold(fold), cross.judged(fold)
        edited, before = rule(judged), cross.predicted(held, judged.edges)
        for row, ratio in enumerate(RATIOS[1:], start=1):
            graph = edited(ratio)
            gain_RK[row, fold] = cross.predicted(held, graph) - before
            added = graph.without(judged.edges)
            if len(added):
                precision_RK[row, fold] = held.contains(added.keys).mean()
    return {"gain": gain_RK, "precision": precision_RK}


def smallest_good(gain_RK: Floats) -> int:
    """The first row whose mean is within one standard error of the best row's, paired over the columns.

    Args:
        gain_RK: values of each ratio, ascending, and fold.
    """
    behind_RK = gain_RK[np.argmax(gain_RK.mean(axis=1))] - gain_RK
    return int(np.flatnonzero(behind_RK.mean(axis=1) <= standard_errors(behind_RK))[0])


def standard_errors(values_RK: Floats) -> Floats:
    """Of the means over the columns, (R,)."""
    error: Floats = values_RK.std(axis=1, ddof=1) / np.sqrt(values_RK.shape[1])
    return error


def curve(trials: Arrays, chosen: float) -> dict[str, float]:
    """Gain of every ratio with its standard error, and the precision of the pairs added at the chosen one."""
    gain_RK, precision_RK = trials["gain"], trials["precision"]
    means = zip(RATIOS, gain_RK.mean(axis=1), standard_errors(gain_RK), strict=True)
    found = {name: value for ratio, mean, error in means for name, value in _named(ratio, mean, error)}
    precision_K = precision_RK[RATIOS.index(chosen)]
    return found | ({"precision_folds": float(np.nanmean(precision_K))} if np.isfinite(precision_K).any() else {})


def _named(ratio: float, mean: float, error: float) -> list[tuple[str, float]]:
    return [(f"gain_{ratio:g}", float(mean)), (f"gain_{ratio:g}_error", float(error))]
