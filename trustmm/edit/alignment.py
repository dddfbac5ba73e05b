"""Is the prior aligned with what users want? Measured against what was injected and what is held out."""

from collections.abc import Callable, Iterator

import numpy as np

from trustmm.corruption.base import Damage
from trustmm.dataset.data import Dataset
from trustmm.edit.amount import RATIOS, Amount
from trustmm.edit.proposal import Proposal
from trustmm.edit.similarity import similarity
from trustmm.evaluation.separation import auc, gini
from trustmm.graph.edges import Edges
from trustmm.graph.free_pairs import free_pairs, num_free
from trustmm.prior.lightgcn import Prior
from trustmm.seeding import stream
from trustmm.trust.edges import spurious_share


def edit_diagnostics(
    proposal: Proposal, prior: Callable[[], Prior], edges: Edges, damage: Damage, data: Dataset
) -> dict[str, float]:
    """Flat table of numbers ``edit/quantity``; empty where nothing is edited, and then the prior is not asked for.

    Args:
        proposal: what the edit wanted.
        prior: the prior of the corrupted graph.
        edges: the corrupted training edges that were edited.
        damage: what was injected.
        data: the clean data with what is held out.
    """
    if proposal.amount is not None:
        found = dict(_fold_numbers(proposal.amount, damage, data))
    elif proposal.changes:
        found = dict(_prior_numbers(prior(), edges, damage, data))
    else:
        return {}
    if len(proposal.removed):
        found |= dict(_pruning_numbers(proposal.removed, damage))
    if len(proposal.added):
        found |= dict(_completion_numbers(proposal, damage, data.held_out))
    return {f"edit/{name}": float(value) for name, value in found.items()}


def _prior_numbers(prior: Prior, edges: Edges, damage: Damage, data: Dataset) -> Iterator[tuple[str, float]]:
    held_out = data.held_out
    chance = free_pairs(data.observed, min(len(held_out), num_free(data.observed)), stream(0, "diagnostics", "edit"))
    yield "auc_heldout", auc(similarity(prior, chance), similarity(prior, held_out))
    if len(damage.added):
        original = edges.without(damage.added)
        yield "auc_injected", auc(similarity(prior, damage.added), similarity(prior, original))
    if len(damage.deleted):
        yield "auc_deleted", auc(similarity(prior, chance), similarity(prior, damage.deleted))


def _fold_numbers(amount: Amount, damage: Damage, data: Dataset) -> Iterator[tuple[str, float]]:
    """What the folds said beside what is so: the share of spurious edges needs validation pairs that can be trusted."""
    yield from amount.numbers().items()
    cross, p = amount.cross, amount.judged.p
    valid, test = (cross.alignment_of(pairs) for pairs in (data.valid, data.test))
    yield from (("alignment_valid", valid.value), ("alignment_test", test.value))
    share = spurious_share(amount.alignment, valid)
    yield from (("spurious_hat", share.value), ("spurious_hat_error", share.standard_error))
    spurious, known = damage.added.contains(cross.edges.keys), np.isfinite(p)
    yield "spurious_share", spurious.mean()
    if len(damage.added):
        yield "auc_injected", auc(-p[known & spurious], -p[known & ~spurious])
    if amount.fixed is None:
        yield from _true_curve(amount, data.test)


def _true_curve(amount: Amount, test: Edges) -> Iterator[tuple[str, float]]:
    """The gain of each ratio on test pairs, by the same cheap prior, and what the chosen one misses of the best."""
    graphs = [amount.edited(ratio) for ratio in RATIOS]
    reached = np.array([amount.cross.predicted(test, graph) for graph in graphs])
    yield from ((f"true_gain_{ratio:g}", gain) for ratio, gain in zip(RATIOS, reached - reached[0], strict=True))
    yield "best_ratio", RATIOS[int(reached.argmax())]
    yield "regret", reached.max() - reached[RATIOS.index(amount.ratio)]


def _pruning_numbers(removed: Edges, damage: Damage) -> Iterator[tuple[str, float]]:
    spurious = damage.added.contains(removed.keys)
    yield "pruned", len(removed)
    yield "pruned_spurious", spurious.mean()
    if len(damage.added):
        yield "spurious_found", spurious.sum() / len(damage.added)


def _completion_numbers(proposal: Proposal, damage: Damage, held_out: Edges) -> Iterator[tuple[str, float]]:
    chosen = proposal.added
    yield "proposed", len(chosen)
    yield "added", len(proposal.additions(held_out))
    yield "removed_as_heldout", 1 - len(proposal.additions(held_out)) / len(chosen)
    yield "precision_heldout", held_out.contains(chosen.keys).mean()
    if len(damage.deleted):
        yield "precision_deleted", damage.deleted.contains(chosen.keys).mean()
    for side, degree in (("user", chosen.user_degree), ("item", chosen.item_degree)):
        yield f"{side}s_receiving", float(np.count_nonzero(degree))
        yield f"{side}_gini", gini(degree.astype(np.float64))
        yield f"{side}_most", float(degree.max())
