"""Content as a second witness of edges: heard as far as it is believed and follows clicks, and no further."""

import functools

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import chisquare

from trustmm.evaluation.separation import auc
from trustmm.graph.edges import Edges
from trustmm.graph.free_pairs import free_pairs
from trustmm.prior.spectral import spectral_prior
from trustmm.seeding import stream
from trustmm.trust import edges as trust_edges
from trustmm.trust.content import believed_content, profiles
from trustmm.trust.edges import DRAWN, FOLDS, CrossFit, Null, Witness, p_values
from trustmm.trust.mismatch import Trust
from trustmm.trust.storey import Estimate

USERS, ITEMS, GROUPS = 900, 400, 40


@functools.cache
def case(noise: float = 0.3) -> tuple[Edges, Edges, np.ndarray]:
    """Users who choose within a group, too few edges to find these well, features that tell them; and the noise."""
    rng = np.random.default_rng(0)
    group_U, group_I = rng.integers(0, GROUPS, USERS), rng.integers(0, GROUPS, ITEMS)
    right = Edges.of(*(rng.random((USERS, ITEMS)) < np.where(group_U[:, None] == group_I, 0.45, 0)).nonzero(), USERS, ITEMS)
    added = free_pairs(right, int(noise * len(right)), stream(0, "noise"))
    centre_GX = rng.standard_normal((GROUPS, 32))
    return right.union(added), added, (centre_GX[group_I] + rng.standard_normal((ITEMS, 32))).astype(np.float32)


def believed(features: np.ndarray, wrong: np.ndarray | float = 0.0) -> np.ndarray:
    trust = Trust(np.broadcast_to(wrong, len(features)).astype(float), Estimate(float(np.mean(wrong)), 0.01), {})
    found = believed_content({"visual": features}, {"visual": trust}, seed=0)
    assert found is not None
    return found


@functools.cache
def separation(kind: str) -> tuple[float, tuple[float, float]]:
    """AUC of right against injected edges by p, and the voices of clicks and content."""
    edges, added, features = case()
    rng = np.random.default_rng(1)
    rows = {
        "none": None,
        "right": believed(features),
        "shuffled": believed(features[rng.permutation(ITEMS)]),
        "half doubted": believed(*_half_wrong(features, doubt=True)),
        "half wrong": believed(*_half_wrong(features, doubt=False)),
    }[kind]
    cross = CrossFit(edges, fit=spectral_prior, null="uniform", seed=0, content=rows)
    p = cross.judged().p
    known, spurious = np.isfinite(p), added.contains(edges.keys)
    return auc(-p[known & spurious], -p[known & ~spurious]), cross.voices()


def _half_wrong(features: np.ndarray, *, doubt: bool) -> tuple[np.ndarray, np.ndarray]:
    """Features of every other item exchanged, and a probability that knows it or does not."""
    wrong = np.arange(ITEMS) % 2 == 0
    features = features.copy()
    features[wrong] = features[np.random.default_rng(2).permutation(np.flatnonzero(wrong))]
    return features, np.where(wrong & doubt, 0.95, 0.0)


def test_content_that_follows_clicks_finds_more_of_what_was_injected() -> None:
    alone, _ = separation("none")
    both, (clicks, content) = separation("right")
    assert both > alone + 0.05
    assert content > clicks / 2


def test_content_of_other_items_is_not_heard() -> None:
    alone, _ = separation("none")
    both, (clicks, content) = separation("shuffled")
    assert content < 0.1 * clicks
    assert abs(both - alone) < 0.01


def test_doubt_about_features_keeps_what_they_are_worth() -> None:
    assert separation("half doubted")[0] > separation("half wrong")[0] > separation("none")[0]


def test_mute_content_changes_no_bit() -> None:
    edges, _, features = case()
    alone, mute = (
        CrossFit(edges, fit=spectral_prior, null="uniform", seed=0, content=rows)
        for rows in (None, np.zeros_like(features))
    )
    assert mute.voices()[1] == 0
    for name in ("user_p", "item_p"):
        assert_array_equal(getattr(mute.judged(), name), getattr(alone.judged(), name))
    assert mute.judged().content is None
    assert mute.alignment_of(case()[1]) == alone.alignment_of(case()[1])


def test_injected_edges_have_uniform_p_values_by_both_witnesses() -> None:
    edges, added, features = case()
    found = CrossFit(edges, fit=spectral_prior, null="uniform", seed=0, content=believed(features)).judged()
    injected = added.contains(edges.keys)
    for p in (found.user_p, found.item_p):
        tenths = np.bincount(np.minimum((p[injected & np.isfinite(p)] * 10).astype(int), 9), minlength=10)
        assert chisquare(tenths).pvalue > 0.001


def test_ranks_of_several_witnesses_are_added_by_voice() -> None:
    left = np.ones((1, 1), dtype=np.float32)
    first, second = (np.array(fits, dtype=np.float32)[:, None] for fits in ([3, 1, 2, 4], [1, 2, 2, 4]))
    null = Null(np.array([[1, 2, 3]], dtype=np.int32), np.ones((1, 3), dtype=bool))
    pair = np.array([0]), np.array([0])
    # Of items 0 to 3 the ranks are 3, 1, 2, 4 and 1, 2.5, 2.5, 4; the pair is item 0.
    for voice, beaten_by in ((0.5, 1), (1.0, 2), (2.0, 3)):
        p = p_values(*pair, [Witness(left, first), Witness(left, second, voice)], null)
        assert p == [(1 + beaten_by) / 4]
    nothing = np.zeros_like(first)
    assert p_values(*pair, [Witness(left, first), Witness(left, nothing, 5.0)], null) == [2 / 4]
    assert p_values(*pair, [Witness(left, nothing), Witness(left, nothing)], null) != [2 / 4]


def test_a_pair_drawn_like_its_rivals_ranks_anywhere_among_them_even_with_ties() -> None:
    rng, pairs = np.random.default_rng(0), 20_000
    left = [rng.integers(-1, 2, (pairs, 2)).astype(np.float32) for _ in range(2)]
    right = [rng.integers(-1, 2, (50, 2)).astype(np.float32) for _ in range(2)]
    null = Null(rng.integers(0, 50, (pairs, DRAWN)).astype(np.int32), np.ones((pairs, DRAWN), dtype=bool))
    witnesses = [Witness(*sides, voice) for *sides, voice in zip(left, right, (1.0, 0.7), strict=True)]
    p = p_values(np.arange(pairs), rng.integers(0, 50, pairs), witnesses, null)
    p = p[np.isfinite(p)]
    for level in (0.05, 0.2, 0.5):  # ties count against a pair: never below its level more often than that
        assert (p <= level).mean() < level + 4 * np.sqrt(level / len(p))


def test_rows_are_as_long_as_their_features_are_believed() -> None:
    _, _, features = case()
    wrong = np.linspace(0, 1, ITEMS)
    assert_allclose(np.linalg.norm(believed(features, wrong), axis=1), 1 - wrong, atol=1e-5)
    unknown = Trust(np.full(ITEMS, np.nan), Estimate(np.nan, np.nan), {})
    hopeless = Trust(np.ones(ITEMS), Estimate(1.0, 0.0), {})
    sound = Trust(np.zeros(ITEMS), Estimate(0.0, 0.0), {})
    for useless in (unknown, hopeless):
        assert believed_content({"visual": features}, {"visual": useless}, seed=0) is None
        both = believed_content({"a": features, "b": features}, {"a": useless, "b": sound}, seed=0)
        assert_allclose(np.linalg.norm(both, axis=1), 1, atol=1e-5)


def test_a_profile_is_what_the_user_chose() -> None:
    edges = Edges.of([0, 0, 1], [0, 2, 2], 3, 3)
    found = profiles(edges, np.eye(3, dtype=np.float32))
    assert_array_equal(found != 0, [[True, False, True], [False, False, True], [False, False, False]])
    assert found[0, 0] > found[0, 2]  # many chose item 2


def test_a_judging_profile_never_saw_the_edge_nor_the_outer_fold(monkeypatch: pytest.MonkeyPatch) -> None:
    edges, _, features = case()
    cross = CrossFit(edges, fit=spectral_prior, null="uniform", seed=0, content=believed(features))
    cross.voices(2)
    seen: list[Edges] = []

    def watched(graph: Edges, rows: np.ndarray) -> np.ndarray:
        seen.append(graph)
        return profiles(graph, rows)

    monkeypatch.setattr(trust_edges, "profiles", watched)
    cross.judged(2)
    folds = [fold for fold in range(FOLDS) if fold != 2]
    assert len(seen) == 2 * len(folds)
    for fold, graph in zip(folds * 2, seen, strict=True):
        for left_out in (2, fold):
            assert not graph.contains(cross.fold(left_out).keys).any()
