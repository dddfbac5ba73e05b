"""The amount of an edit: chosen where an edit helps to predict, 0 where nothing is known, the same every time."""

import functools
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from tests.edit.test_edit_in_a_job import MR, Watched
from tests.edit.test_prior_edit import CPU, edit
from trustmm.dataset.data import TrainData
from trustmm.edit.amount import RATIOS, Amount, curve, smallest_good, try_ratios
from trustmm.edit.believed import Edited, pruned
from trustmm.edit.proposal import Proposal
from trustmm.graph.edges import Edges
from trustmm.graph.free_pairs import free_pairs
from trustmm.graph.weighted import WeightedEdges
from trustmm.prior.spectral import spectral_prior
from trustmm.seeding import stream
from trustmm.store.cache import Cache
from trustmm.store.identity import describe
from trustmm.trust.content import Content
from trustmm.trust.edges import CrossFit

USERS, ITEMS, GROUPS = 200, 120, 6
OPS = ("prune", "complete", "reweigh")
ENOUGH_ITEMS = ("dataset.num_users=300", "dataset.num_items=200", "dataset.num_interactions=4000")
"""For trust in their features."""


@functools.cache
def graph(noise: float = 0.5) -> Edges:
    """Users who like the items of a group, and as much noise."""
    rng = np.random.default_rng(0)
    liked = rng.integers(0, GROUPS, USERS)[:, None] == rng.integers(0, GROUPS, ITEMS)
    edges = Edges.of(*(rng.random((USERS, ITEMS)) < np.where(liked, 0.4, 0)).nonzero(), USERS, ITEMS)
    return edges.union(free_pairs(edges, int(noise * len(edges)), stream(0, "noise")))


def chance() -> Edges:
    return free_pairs(Edges.from_keys(np.empty(0, dtype=np.int64), USERS, ITEMS), 1500, stream(0, "pairs"))


def propose(edges: Edges, seed: int = 0, cache: Cache | None = None, **changes: Any) -> Proposal:
    def unwanted() -> Any:
        raise AssertionError("the prior was asked for")

    where = "graph_only" if changes.get("op") == "reweigh" else "both"
    stage = edit(where, amount="auto", **changes)
    return stage(TrainData(edges, edges, {}), unwanted, seed=seed, cache=cache or Cache(None), device=CPU)


@pytest.mark.parametrize(
    ("gains", "row"),
    [
        ([[0, 0, 0], [1, 2, 3], [1.5, 2.5, 3.5]], 2),  # better everywhere, by the same
        ([[0, 0, 0], [1, 2, 3], [0, 3, 4]], 1),  # 0.33 more, with an error of 0.67
        ([[0, 0, 0], [-1, 2, 0]], 0),
        ([[0, 0, 0], [0, 0, 0]], 0),
        ([[0, 0, 0], [-1, -2, -3]], 0),
    ],
)
def test_smallest_ratio_within_a_standard_error_of_the_best(gains: list[list[float]], row: int) -> None:
    assert smallest_good(np.array(gains, dtype=float)) == row


def test_noise_is_pruned_and_chance_is_left_alone() -> None:
    found = propose(graph(), op="prune")
    assert found.amount is not None
    assert found.amount.ratio >= 0.1
    assert len(found.removed) == round(found.amount.ratio * 100) * len(graph()) // 100
    for op in OPS:
        assert not propose(chance(), op=op).changes


def test_reweighing_gives_weights_where_it_helps() -> None:
    found = propose(graph(), op="reweigh")
    assert isinstance(found.graph, WeightedEdges)
    assert len(found.removed) == len(found.added) == 0


@pytest.mark.parametrize("op", OPS)
def test_equal_seeds_give_equal_edits(op: str, tmp_path: Any) -> None:
    cache = Cache(tmp_path)
    first, again, stored = (
        propose(graph(), op=op),
        propose(graph(), op=op, cache=cache),
        propose(graph(), op=op, cache=cache),
    )
    for other in (again, stored):
        assert_array_equal(first.removed.keys, other.removed.keys)
        assert_array_equal(first.added.keys, other.added.keys)
        assert first.amount.numbers() == other.amount.numbers()
    assert len(cache.handed) == 4


def test_trials_compare_with_no_edit_and_tell_how_often_added_pairs_were_left_out() -> None:
    cross = CrossFit(graph(), fit=spectral_prior, null="uniform", seed=0)
    trials = try_ratios(cross, lambda judged: lambda ratio: judged.edges)
    assert not trials["gain"].any()
    assert np.isnan(trials["precision"]).all()
    told = try_ratios(cross, lambda judged: lambda ratio: graph())  # a rule that knows what was left out
    assert (told["gain"][1:] > 0).all()
    assert_allclose(told["precision"][1:], 1)
    numbers = curve(told, RATIOS[1])
    assert numbers["precision_folds"] == 1
    assert numbers["gain_0"] == numbers["gain_0_error"] == 0 < numbers["gain_0.01"]


def test_what_is_fixed_is_not_tried() -> None:
    def rule(judged: Any) -> Edited:
        assert len(judged.edges) == len(graph())  # never a part of the edges
        return pruned(judged)

    amount = Amount(CrossFit(graph(), fit=spectral_prior, null="uniform", seed=0), rule, 0.05, Cache(None))
    assert amount.ratio == 0.05
    assert set(amount.numbers()) == {"alignment", "alignment_error", "ratio"}
    assert len(graph()) - len(amount.edited(0.05)) == len(graph()) // 20


def test_options_that_mean_nothing_are_no_part_of_the_identity() -> None:
    auto = edit(op="prune", amount="auto")
    assert describe(edit(op="prune", amount="auto", ratio=0.3, k_user=3, evidence="folds")) == describe(auto)
    assert describe(edit(op="prune", amount="auto", against="degree")) != describe(auto)
    assert describe(edit(op="prune", evidence="folds")) not in (describe(auto), describe(edit(op="prune")))
    assert describe(edit(op="prune", against="degree")) == describe(edit(op="prune"))
    for fixed in ({"evidence": "prior"}, {"evidence": "folds", "ratio": 0.0}):
        assert describe(edit(op="prune", content=True, **fixed)) == describe(edit(op="prune", **fixed))
    assert describe(edit(op="prune", amount="auto", content=True)) != describe(auto)
    graphda = edit("graph_only", op="graphda")
    assert describe(edit("graph_only", op="graphda", amount="auto", evidence="folds")) == describe(graphda)


def test_a_job_chooses_without_the_prior_and_says_what_was_estimated_and_what_is_so() -> None:
    job = Watched("edit=both", "edit.op=prune", "edit.amount=auto", "corruption.eta_e=0.3")
    assert "prior" not in job.stages
    found = job.result.diagnostics
    assert found["edit/ratio"] in RATIOS
    assert found["edit/spurious_share"] == pytest.approx(0.3 / 1.3, abs=0.002)
    assert found["edit/regret"] >= 0
    assert found["edit/true_gain_0"] == found["edit/gain_0"] == 0
    assert {f"edit/{name}_{ratio:g}" for name in ("gain", "true_gain") for ratio in RATIOS} <= set(found)
    assert {"edit/alignment", "edit/alignment_valid", "edit/alignment_test", "edit/spurious_hat"} <= set(found)
    removed = found.get("edit/pruned", 0)
    assert len(job.train.supervision) == len(job.data.train) * 13 // 10 - removed


CONTENT = ("edit=both", "edit.evidence=folds", "edit.content=true", "edit.ratio=0.1", "corruption.eta_e=0.3")


@pytest.mark.parametrize("op", ["prune", "complete"])
def test_a_job_hears_content_as_observed_whatever_repairs_it(op: str) -> None:
    options = (f"edit.op={op}", "corruption.eta=0.3", *ENOUGH_ITEMS, *CONTENT)
    heard, repaired = Watched(*options), Watched(*options, *MR)
    assert heard.stages.count("prior") == 4
    for job in (heard, repaired):
        assert_array_equal(job.train.supervision.keys, heard.train.supervision.keys)
    clicks = Watched(*options, "edit.content=false")
    assert "prior" not in clicks.stages
    assert len(clicks.train.supervision) == len(heard.train.supervision) or op == "complete"
    assert not clicks.train.supervision.same_as(heard.train.supervision)


def test_features_too_few_to_judge_leave_the_word_to_clicks() -> None:
    options = ("edit.op=prune", "corruption.eta=0.3", *CONTENT)
    unjudged, clicks = Watched(*options), Watched(*options, "edit.content=false")
    assert_array_equal(unjudged.train.supervision.keys, clicks.train.supervision.keys)


def test_what_content_said_is_kept_under_its_own_name(tmp_path: Any) -> None:
    edges, rows = graph(), np.random.default_rng(0).standard_normal((ITEMS, 4)).astype(np.float32)
    sure, doubted = (Content(rows, np.full(ITEMS, value)) for value in (1.0, 0.5))
    cache = Cache(tmp_path)
    for content in ({}, {"visual": sure}, {"visual": doubted}, {"textual": sure}):
        cross = CrossFit(edges, fit=spectral_prior, null="uniform", seed=0, content=content)
        first, again = (Amount(cross, pruned, 0.05, cache).judged for _ in range(2))
        assert_array_equal(first.p, again.p)
    assert len({entry.key for entry in cache.handed}) == 4
