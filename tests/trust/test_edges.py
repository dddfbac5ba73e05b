"""Edges in folds on planted data: what was injected looks like chance, and in-sample similarity does not know."""

import functools

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import chisquare

from trustmm.edit.similarity import similarity
from trustmm.evaluation.separation import auc
from trustmm.graph.edges import Edges
from trustmm.graph.free_pairs import free_pairs
from trustmm.prior import spectral
from trustmm.prior.lightgcn import Prior
from trustmm.prior.spectral import spectral_prior
from trustmm.seeding import stream
from trustmm.trust.edges import FOLDS, CrossFit, alignment, fold_edges, spurious_share, swapped
from trustmm.trust.places import DRAWN, Null, Witness, draw_null, p_values
from trustmm.trust.storey import Estimate

USERS, ITEMS, GROUPS = 600, 300, 12


@functools.cache
def planted(seed: int = 0) -> tuple[Edges, Edges]:
    """Users who choose mostly among the items of their group: training pairs and pairs held out at random."""
    rng = np.random.default_rng(seed)
    liked = rng.integers(0, GROUPS, USERS)[:, None] == rng.integers(0, GROUPS, ITEMS)
    keys = rng.permutation(np.flatnonzero(rng.random((USERS, ITEMS)) < np.where(liked, 0.5, 0.01)))
    cut = len(keys) // 5
    return tuple(Edges.from_keys(np.sort(part), USERS, ITEMS) for part in (keys[cut:], keys[:cut]))


@functools.cache
def crossfit(eta_e: float, seed: int = 0) -> tuple[CrossFit, Edges]:
    """The planted edges with uniform noise, and the noise."""
    train, held_out = planted(seed)
    added = free_pairs(train.union(held_out), int(eta_e * len(train)), stream(seed, "noise"))
    return CrossFit(train.union(added), fit=spectral_prior, null="uniform", seed=seed), added


@functools.cache
def judged_p(eta_e: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    found = crossfit(eta_e, seed)[0].judged()
    return found.user_p, found.item_p


@pytest.mark.parametrize("seed", range(3))
def test_without_any_fold_every_user_and_item_keeps_an_edge(seed: int) -> None:
    rng = np.random.default_rng(seed)
    edges = Edges.of(*(rng.random((60, 40)) < 0.06).nonzero(), 60, 40)  # many with one edge or two
    label = fold_edges(edges, rng)
    assert set(label) == {-1, *range(FOLDS)}
    for fold in range(FOLDS):
        rest = edges.subset(np.flatnonzero(label != fold))
        assert_array_equal(rest.user_degree > 0, edges.user_degree > 0)
        assert_array_equal(rest.item_degree > 0, edges.item_degree > 0)
    alone = (edges.user_degree[edges.users] == 1) | (edges.item_degree[edges.items] == 1)
    assert (label[alone] == -1).all()


def test_folds_are_equally_large_and_little_is_left_without() -> None:
    edges, _ = planted()
    label = fold_edges(edges, stream(0, "folds"))
    assert (label == -1).mean() < 0.01
    assert_allclose(np.bincount(label[label >= 0]) * FOLDS, len(edges), rtol=0.06)
    assert_array_equal(label, fold_edges(edges, stream(0, "folds")))
    assert (label != fold_edges(edges, stream(1, "folds"))).mean() > 0.5


def test_p_value_is_the_rank_among_drawn_partners_that_nobody_observed() -> None:
    left, right = np.eye(3, 2, dtype=np.float32), np.array([[4, 1], [3, 2], [2, 3], [1, 4]], dtype=np.float32)
    null = Null(
        np.array([[1, 2, 3], [0, 0, 3], [0, 1, 2]], dtype=np.int32),
        np.array([[True, True, True], [True, False, True], [False, False, False]]),
    )
    found = p_values(np.array([1, 0, 0, 1, 2]), np.array([2, 0, 3, 0, 0]), [Witness(left, right)], null)
    # user 0 scores items by 4, 3, 2, 1; user 1 by 1, 2, 3, 4, with two partners that count; user 2 knows nothing
    assert_allclose(found, [2 / 3, 1 / 4, 4 / 4, 3 / 3, np.nan])


def test_injected_edges_have_uniform_p_values_whatever_the_degree() -> None:
    cross, added = crossfit(0.4)
    user_p, item_p = judged_p(0.4)
    injected = added.contains(cross.edges.keys)
    busy = cross.edges.user_degree[cross.edges.users] > np.median(cross.edges.user_degree)
    for p, group in ((user_p, injected & busy), (user_p, injected & ~busy), (item_p, injected)):
        tenths = np.bincount(np.minimum((p[group & np.isfinite(p)] * 10).astype(int), 9), minlength=10)
        assert chisquare(tenths).pvalue > 0.001
    assert np.nanmean(user_p[~injected]) < 0.3


def test_alignment_falls_with_noise_as_the_truth_does_and_in_sample_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    folds, truth, in_sample = [], [], []
    for eta_e in (0.0, 0.4, 0.8):
        cross, _ = crossfit(eta_e)
        folds.append(alignment(cross.edges, judged_p(eta_e)[0], 0).value)
        truth.append(cross.alignment_of(planted()[1]).value)
    monkeypatch.setattr(spectral, "RANK", 64)  # the best fit to the edges themselves
    monkeypatch.setattr(spectral, "STEPS", 1)
    for eta_e in (0.0, 0.4, 0.8):
        edges = crossfit(eta_e)[0].edges
        chance = free_pairs(edges, 20_000, stream(0, "chance"))
        in_sample.append(auc(*(similarity(spectral_prior(edges), pairs) for pairs in (chance, edges))))
    assert (np.diff(folds) < -0.05).all()
    assert (np.diff(truth) < -0.01).all()
    assert abs(folds[0] - truth[0]) < 0.02
    assert in_sample[0] - in_sample[-1] < 0.01


@pytest.mark.parametrize("eta_e", [0.0, 0.2, 0.8])
def test_share_of_spurious_edges_is_found_with_pairs_known_to_be_right(eta_e: float) -> None:
    cross, added = crossfit(eta_e)
    found = spurious_share(alignment(cross.edges, judged_p(eta_e)[0], 0), cross.alignment_of(planted()[1]))
    assert abs(found.value - len(added) / len(cross.edges)) < 3 * found.standard_error + 0.01
    assert found.standard_error < 0.03


def test_share_is_not_identified_where_the_prior_knows_nothing_of_right_pairs() -> None:
    assert np.isnan(spurious_share(Estimate(0.5, 0.01), Estimate(0.51, 0.01))).all()
    known = spurious_share(Estimate(0.7, 0.01), Estimate(0.75, 0.01))
    assert_allclose(known, [0.2, np.hypot(0.01, 0.8 * 0.01) / 0.25])
    assert spurious_share(Estimate(0.9, 0.01), Estimate(0.8, 0.01)).value == 0


def test_edges_of_pure_chance_have_no_alignment() -> None:
    edges = free_pairs(Edges.from_keys(np.empty(0, dtype=np.int64), USERS, ITEMS), 9000, stream(0, "pairs"))
    found = alignment(edges, CrossFit(edges, fit=spectral_prior, null="uniform", seed=0).judged().user_p, 0)
    assert abs(found.value - 0.5) < 4 * found.standard_error


def test_standard_error_is_the_spread_over_users() -> None:
    rng = np.random.default_rng(0)
    values, errors = [], []
    for seed in range(60):
        p = np.repeat(rng.uniform(0, 1, 200), 5)  # a user's edges agree: 200 observations, not 1000
        edges = Edges.from_keys(np.arange(1000), 200, 5)
        found = alignment(edges, p, seed)
        values.append(found.value)
        errors.append(found.standard_error)
    assert_allclose(np.mean(errors), np.std(values, ddof=1), rtol=0.3)


def test_edges_without_evidence_do_not_count() -> None:
    edges = Edges.of([0, 0, 1], [0, 1, 2], 2, 3)
    assert alignment(edges, np.array([0.1, np.nan, 0.3]), 0).value == pytest.approx(0.8)
    assert np.isnan(alignment(edges, np.full(3, np.nan), 0)).all()
    cross = CrossFit(edges, fit=spectral_prior, null="uniform", seed=0)
    assert np.isnan(cross.judged().p[2])  # the only edge of user 1


def test_a_judging_prior_never_saw_the_edge_nor_the_outer_fold() -> None:
    seen: list[Edges] = []

    def fit(edges: Edges) -> Prior:
        seen.append(edges)
        return Prior(np.ones((USERS, 2), dtype=np.float32), np.ones((ITEMS, 2), dtype=np.float32))

    cross = CrossFit(planted()[0], fit=fit, null="uniform", seed=0)
    cross.judged(2)
    assert len(seen) == FOLDS - 1
    for fold, edges in zip((0, 1, 3, 4), seen, strict=True):
        for left_out in (2, fold):
            assert not edges.contains(cross.fold(left_out).keys).any()
    cross.judged(0)
    assert len(seen) == 2 * FOLDS - 3  # the prior without folds 0 and 2 is there already


def test_degree_null_draws_in_proportion_to_the_root_of_the_degree() -> None:
    edges = Edges.of([0, 1, 2, 3, 4], [0, 0, 0, 0, 1], 5, 3)
    drawn = draw_null(edges, "degree", stream(0, "null"))
    share = np.bincount(drawn.index.ravel(), minlength=3) / drawn.index.size
    assert_allclose(share, [2 / 3, 1 / 3, 0], atol=4 * np.sqrt(0.25 / (5 * DRAWN)))
    assert_array_equal(drawn.free, ~edges.contains(np.arange(5)[:, None] * 3 + drawn.index))


def test_relabelling_users_and_items_is_another_draw() -> None:
    cross, _ = crossfit(0.2)
    edges, rng = cross.edges, np.random.default_rng(3)
    moved = Edges.of(rng.permutation(USERS)[edges.users], rng.permutation(ITEMS)[edges.items], USERS, ITEMS)
    first = alignment(edges, judged_p(0.2)[0], 0)
    second = alignment(moved, CrossFit(moved, fit=spectral_prior, null="uniform", seed=0).judged().user_p, 0)
    assert abs(first.value - second.value) < 2 * first.standard_error


def test_sides_are_swapped() -> None:
    edges = Edges.of([0, 0, 1], [0, 1, 2], 2, 3)
    assert_array_equal(swapped(edges).users, [0, 1, 2])
    assert_array_equal(swapped(edges).items, [0, 0, 1])
