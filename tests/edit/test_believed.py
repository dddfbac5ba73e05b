"""Edits by the evidence of folds: counts, caps, ratio 0."""

import functools
from fractions import Fraction

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from trustmm.edit.believed import completed, pruned, reweighed
from trustmm.edit.similarity import similarity
from trustmm.graph.edges import Edges
from trustmm.graph.weighted import WeightedEdges
from trustmm.prior.lightgcn import Prior
from trustmm.trust.edges import Judged

USERS, ITEMS = 40, 30
RATIOS = (0.01, 0.05, 0.1, 0.29, 0.6)
complete = functools.partial(completed, k_user=ITEMS, k_item=USERS, device=torch.device("cpu"))


def judged(seed: int = 0, *, ties: bool = False, known: float = 0.9) -> Judged:
    """A graph with p-values of edges drawn anyhow, and three priors."""
    rng = np.random.default_rng(seed)
    edges = Edges.of(*(rng.random((USERS, ITEMS)) < 0.2).nonzero(), USERS, ITEMS)
    sides = [rng.uniform(0, 0.8, len(edges)) for _ in range(2)]
    if ties:
        sides = [np.ceil(side * 3) / 3 for side in sides]
    unknown = rng.random(len(edges)) > known
    for side in sides:
        side[unknown] = np.nan
    priors = [Prior(*(rng.standard_normal((size, 4)).astype(np.float32) for size in (USERS, ITEMS))) for _ in range(3)]
    return Judged(edges, *sides, whole=lambda: priors[0], priors=lambda: priors)


@pytest.mark.parametrize("rule", [pruned, complete, reweighed])
def test_ratio_zero_gives_the_same_edges(rule: object) -> None:
    case = judged()
    same = rule(case, 0.0)
    assert_array_equal(same.keys, case.edges.keys)
    assert not isinstance(same, WeightedEdges)


@pytest.mark.parametrize("ratio", RATIOS)
@pytest.mark.parametrize("ties", [False, True])
def test_pruning_takes_exactly_the_share_with_the_largest_p_values(ratio: float, ties: bool) -> None:
    case = judged(ties=ties)
    kept = pruned(case, ratio)
    assert len(case.edges) - len(kept) == round(ratio * 100) * len(case.edges) // 100
    gone = ~kept.contains(case.edges.keys)
    assert np.isfinite(case.p[gone]).all()
    assert case.p[gone].min() >= np.nanmax(case.p[~gone])
    assert pruned(case, ratio / 2).contains(kept.keys).all()


@pytest.mark.parametrize("ratio", RATIOS)
def test_completion_keeps_to_its_count_and_to_every_cap(ratio: float) -> None:
    case = judged()
    edges, found = case.edges, complete(case, ratio)
    added = found.without(edges)
    assert found.contains(edges.keys).all()
    assert 0 < len(added) <= round(ratio * 100) * len(edges) // 100
    for degree, got in ((edges.user_degree, added.user_degree), (edges.item_degree, added.item_degree)):
        most = [-(-Fraction(str(ratio)) * int(one) // 1) for one in degree]
        assert (got <= np.array(most, dtype=int)).all()
    assert found.contains(complete(case, ratio / 2).keys).all()


def test_completion_prefers_what_the_most_doubtful_prior_believes_in() -> None:
    case = judged()
    added = complete(case, 0.01).without(case.edges)
    every = Edges.from_keys(np.arange(USERS * ITEMS), USERS, ITEMS).without(case.edges)
    least = np.min([similarity(prior, every) for prior in case.priors()], axis=0)
    assert every.keys[least.argmax()] in added.keys
    assert len(added) == len(case.edges) // 100 == 2


@pytest.mark.parametrize("ratio", [0.01, 0.05, 0.07])
def test_weights_take_the_ratio_away_and_fall_with_p(ratio: float) -> None:
    case = judged()
    found = reweighed(case, ratio)
    assert isinstance(found, WeightedEdges)
    assert_array_equal(found.keys, case.edges.keys)
    assert_allclose(1 - found.weights.mean(), ratio, rtol=1e-4)
    assert (found.weights[np.isnan(case.p)] == 1).all()
    known = np.isfinite(case.p)
    assert (np.diff(found.weights[known][np.argsort(case.p[known])]) <= 0).all()


def test_weak_alignment_leaves_weights_near_one() -> None:
    case = judged(known=1.0)
    cap = 1 - 2 * case.user_p.mean()
    found = reweighed(case, 1.0)
    assert isinstance(found, WeightedEdges)
    assert_allclose(found.weights, 1 - cap * case.p, rtol=1e-5)
    chance = Judged(case.edges, np.full(len(case.edges), 0.5), case.item_p, case.whole, case.priors)
    assert not isinstance(reweighed(chance, 0.2), WeightedEdges)


def test_edges_without_any_evidence_are_left_alone() -> None:
    case = judged(known=-1)
    assert not isinstance(reweighed(case, 0.2), WeightedEdges)
