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
from trustmm.trust.content import Content, believed_content, profiles
from trustmm.trust.edges import CLICKS, FOLDS, CrossFit
from trustmm.trust.mismatch import Trust
from trustmm.trust.places import DRAWN, Null, Witness, _Heard, evidence, p_values, places
from trustmm.trust.storey import Estimate

USERS, ITEMS, GROUPS = 900, 400, 40


@functools.cache
def case(noise: float = 0.3) -> tuple[Edges, Edges, np.ndarray]:
    """Users who choose within a group, too few edges to find these well, features that tell them; and the noise."""
    rng = np.random.default_rng(0)
    group_U, group_I = rng.integers(0, GROUPS, USERS), rng.integers(0, GROUPS, ITEMS)
    chance_UI = np.where(group_U[:, None] == group_I, 0.2, 0)
    right = Edges.of(*(rng.random((USERS, ITEMS)) < chance_UI).nonzero(), USERS, ITEMS)
    added = free_pairs(right, int(noise * len(right)), stream(0, "noise"))
    centre_GX = rng.standard_normal((GROUPS, 32))
    return right.union(added), added, (centre_GX[group_I] + rng.standard_normal((ITEMS, 32))).astype(np.float32)


def believed(features: np.ndarray, wrong: np.ndarray | float = 0.0) -> dict[str, Content]:
    trust = Trust(np.broadcast_to(wrong, len(features)).astype(float), Estimate(float(np.mean(wrong)), 0.01), {})
    return believed_content({"visual": features}, {"visual": trust}, seed=0)


@functools.cache
def separation(kind: str) -> tuple[float, dict[str, Estimate]]:
    """AUC of right against injected edges by p, and what clicks and content are aligned by."""
    edges, added, features = case()
    rng = np.random.default_rng(1)
    rows = {
        "none": {},
        "right": believed(features),
        "shuffled": believed(features[rng.permutation(ITEMS)]),
        "half doubted": believed(*_half_wrong(features, doubt=True)),
        "half wrong": believed(*_half_wrong(features, doubt=False)),
    }[kind]
    cross = CrossFit(edges, fit=spectral_prior, null="uniform", seed=0, content=rows)
    p = cross.judged().p
    known, spurious = np.isfinite(p), added.contains(edges.keys)
    return auc(-p[known & spurious], -p[known & ~spurious]), cross.alignments()


def _half_wrong(features: np.ndarray, *, doubt: bool) -> tuple[np.ndarray, np.ndarray]:
    """Features of every other item exchanged, and a probability that knows it or does not."""
    wrong = np.arange(ITEMS) % 2 == 0
    features = features.copy()
    features[wrong] = features[np.random.default_rng(2).permutation(np.flatnonzero(wrong))]
    return features, np.where(wrong & doubt, 0.95, 0.0)


def test_content_that_follows_clicks_finds_more_of_what_was_injected() -> None:
    alone, _ = separation("none")
    both, aligned = separation("right")
    assert both > alone + 0.05
    assert aligned["visual"].value > aligned[CLICKS].value > 0.7


def test_content_of_other_items_is_not_heard() -> None:
    alone, _ = separation("none")
    both, aligned = separation("shuffled")
    assert abs(aligned["visual"].value - 0.5) < 3 * aligned["visual"].standard_error
    assert both == alone


def test_doubt_about_features_keeps_what_the_others_are_worth() -> None:
    doubted, aligned = separation("half doubted")
    undoubted, taken = separation("half wrong")
    assert doubted > undoubted + 0.01
    assert doubted > separation("none")[0] + 0.01
    assert aligned["visual"].value > taken["visual"].value + 0.05  # that of the believed half, not of all


def test_mute_content_changes_no_bit() -> None:
    edges, _, _ = case()
    same = Content(np.ones((ITEMS, 3), dtype=np.float32), np.ones(ITEMS))
    alone, mute = (
        CrossFit(edges, fit=spectral_prior, null="uniform", seed=0, content=content)
        for content in (None, {"visual": same})
    )
    assert set(mute.aligned()) == {CLICKS}
    for name in ("user_p", "item_p"):
        assert_array_equal(getattr(mute.judged(), name), getattr(alone.judged(), name))
    assert mute.judged().heard is None
    assert mute.alignment_of(case()[1]) == alone.alignment_of(case()[1])


@pytest.mark.parametrize("doubt", [0.0, 0.7])
def test_the_error_of_an_alignment_is_its_spread_over_draws_of_content(doubt: float) -> None:
    edges, _, features = case()
    rng = np.random.default_rng(0)
    found = []
    for _ in range(60):
        content = believed(features[rng.permutation(ITEMS)], np.where(rng.random(ITEMS) < 0.5, doubt, 0.0))
        found.append(CrossFit(edges, fit=spectral_prior, null="uniform", seed=0, content=content)._alone("visual"))
    values, errors = np.array(found).T
    assert abs(values.mean() - 0.5) < 4 * values.std(ddof=1) / np.sqrt(60)
    assert_allclose(errors.mean(), values.std(ddof=1), rtol=0.35)


def test_injected_edges_have_uniform_p_values_by_both_witnesses() -> None:
    edges, added, features = case()
    found = CrossFit(edges, fit=spectral_prior, null="uniform", seed=0, content=believed(features)).judged()
    injected = added.contains(edges.keys)
    for p in (found.user_p, found.item_p):
        tenths = np.bincount(np.minimum((p[injected & np.isfinite(p)] * 10).astype(int), 9), minlength=10)
        assert chisquare(tenths).pvalue > 0.001


def test_evidence_is_a_likelihood_ratio() -> None:
    place, n = np.arange(1000), np.full(1000, 1000)
    alone, sure = np.zeros_like(place), np.ones(1000)
    for alignment in (0.5, 0.6, 0.8, 0.95, 0.999):
        density = np.exp(evidence(place, alone, n, alignment, sure))  # of right pairs; that of random ones is 1
        assert density.mean() == pytest.approx(1)
        assert ((place + 0.5) / 1000 * density).mean() == pytest.approx(1 - alignment, abs=0.001)
        ten = evidence(place[::10], alone[::10] + 9, n[::10], alignment, sure[::10])  # of ten that fit equally well
        assert_allclose(np.exp(ten), density.reshape(-1, 10).mean(axis=1))
    assert_allclose(evidence(place, alone, n, 0.5, sure), 0, atol=1e-12)
    assert_array_equal(evidence(place, alone, n, 0.9, np.zeros(1000)), 0)
    half = np.exp(evidence(place, alone, n, 0.8, np.full(1000, 0.5)))
    assert_allclose(half, 0.5 * np.exp(evidence(place, alone, n, 0.8, sure)) + 0.5)
    assert evidence(np.array([0]), np.array([999]), n[:1], 0.9, sure[:1]) == pytest.approx(0, abs=1e-12)


def test_places_count_the_others() -> None:
    values = np.array([[3, 1, 3, -np.inf, 2], [0, 0, 0, 0, 0]], dtype=np.float32)
    above, level = places(values)
    assert_array_equal(above, [[0, 3, 0, 4, 2], [0, 0, 0, 0, 0]])
    assert_array_equal(level, [[1, 0, 1, 0, 0], [4, 4, 4, 4, 4]])
    assert_array_equal(places(values[0])[0], above[0])


def test_evidence_of_several_witnesses_is_added_as_far_as_they_are_aligned_and_believed() -> None:
    left = np.ones((1, 1), dtype=np.float32)
    first, second = (np.array(fits, dtype=np.float32)[:, None] for fits in ([3, 1, 2, 4], [1, 2, 2, 4]))
    null = Null(np.array([[1, 2, 3]], dtype=np.int32), np.ones((1, 3), dtype=bool))

    def beaten(alignment: float, believed: list[float] | None = None) -> int:
        sure = None if believed is None else np.array(believed, dtype=float)
        two = Witness(left, first, 0.75), Witness(left, second, alignment, right_R=sure)
        (p,) = p_values(np.array([0]), np.array([0]), two, null)
        turned = Null(np.zeros((4, 1), dtype=np.int32), np.zeros((4, 1), dtype=bool))
        assert np.isnan(p_values(np.array([0]), np.array([0]), [one.turned for one in two], turned)).all()
        return round(4 * p - 1)

    # The pair is item 0. At 0.75 evidence is -0.42, -1.01, -0.78, 0.92 of the first and -1.01, -0.59, -0.59, 0.92.
    assert beaten(0.5) == 1
    assert beaten(0.75) == 2
    assert beaten(0.75, [1, 1, 1, 1]) == 2
    assert beaten(0.75, [0, 1, 1, 1]) == 1  # nothing is known against it
    assert beaten(0.75, [1, 1, 1, 0]) == 2  # nor for item 3


def test_equal_content_is_equal_evidence() -> None:
    rng = np.random.default_rng(0)
    left, kinds = (rng.standard_normal((count, 24)).astype(np.float32) for count in (300, 3))
    right = kinds[rng.integers(0, 3, 60)]  # many items of the same content
    null = Null(rng.integers(0, 60, (300, DRAWN)).astype(np.int32), np.ones((300, DRAWN), dtype=bool))
    nodes, columns = np.arange(300), rng.integers(0, 60, 300)
    heard = _Heard(Witness(left, right, 0.8), nodes, null.index, null.free)
    drawn, own = heard.evidence(nodes, columns)
    same = (right[null.index] == right[columns][:, None]).all(axis=2)
    assert_array_equal(drawn[same], np.broadcast_to(own[:, None], drawn.shape)[same])


def test_who_knows_nothing_says_nothing() -> None:
    rng = np.random.default_rng(0)
    left, right = (rng.standard_normal((count, 3)).astype(np.float32) for count in (6, 40))
    silent = Witness(np.zeros_like(left), right, 0.9, right_R=rng.random(40))
    null = Null(rng.integers(0, 40, (6, 50)).astype(np.int32), rng.random((6, 50)) < 0.6)
    rows, columns = rng.integers(0, 6, 80), rng.integers(0, 40, 80)
    alone, both = (
        p_values(rows, columns, who, null) for who in ([Witness(left, right, 0.8)], [Witness(left, right, 0.8), silent])
    )
    assert_allclose(both, alone)


def test_observed_partners_are_no_rivals_whoever_testifies() -> None:
    rng = np.random.default_rng(0)
    left, right = (rng.standard_normal((count, 3)).astype(np.float32) for count in (6, 40))
    index, free = rng.integers(0, 40, (6, 50)).astype(np.int32), rng.random((6, 50)) < 0.6
    rows, columns = rng.integers(0, 6, 80), rng.integers(0, 40, 80)
    alone = p_values(rows, columns, [Witness(left, right)], Null(index, free))
    twice = p_values(rows, columns, [Witness(left, right, 0.8), Witness(left, right, 0.6)], Null(index, free))
    assert_allclose(twice, alone)
    believed = p_values(rows, columns, [Witness(left, right, 0.8, right_R=np.ones(40))], Null(index, free))
    assert_allclose(believed, alone)


def test_a_pair_drawn_like_its_rivals_ranks_anywhere_among_them_even_with_ties() -> None:
    rng, pairs = np.random.default_rng(0), 20_000
    left = [rng.integers(-1, 2, (pairs, 2)).astype(np.float32) for _ in range(2)]
    right = [rng.integers(-1, 2, (50, 2)).astype(np.float32) for _ in range(2)]
    null = Null(rng.integers(0, 50, (pairs, DRAWN)).astype(np.int32), np.ones((pairs, DRAWN), dtype=bool))
    witnesses = [Witness(left[0], right[0], 0.8), Witness(left[1], right[1], 0.7, right_R=rng.random(50))]
    p = p_values(np.arange(pairs), rng.integers(0, 50, pairs), witnesses, null)
    p = p[np.isfinite(p)]
    for level in (0.05, 0.2, 0.5):  # ties count against a pair: never below its level more often than that
        assert (p <= level).mean() < level + 4 * np.sqrt(level / len(p))


def test_content_is_rows_of_length_1_and_what_is_believed_of_them() -> None:
    _, _, features = case()
    wrong = np.linspace(0, 1, ITEMS)
    found = believed(features, wrong)["visual"]
    assert_allclose(np.linalg.norm(found.rows_IC, axis=1), 1, atol=1e-5)
    assert_array_equal(found.believed_I, 1 - wrong)
    unknown = Trust(np.full(ITEMS, np.nan), Estimate(np.nan, np.nan), {})
    hopeless = Trust(np.ones(ITEMS), Estimate(1.0, 0.0), {})
    sound = Trust(np.zeros(ITEMS), Estimate(0.0, 0.0), {})
    for useless in (unknown, hopeless):
        assert believed_content({"visual": features}, {"visual": useless}, seed=0) == {}
        assert set(believed_content({"a": features, "b": features}, {"a": useless, "b": sound}, seed=0)) == {"b"}


def test_a_profile_is_what_the_user_chose_as_far_as_it_is_believed() -> None:
    edges = Edges.of([0, 0, 0, 1], [0, 1, 2, 2], 3, 3)
    found = profiles(edges, Content(np.eye(3, dtype=np.float32), np.array([1.0, 0.0, 1.0])))
    assert_array_equal(found != 0, [[True, False, True], [False, False, True], [False, False, False]])
    assert found[0, 0] > found[0, 2]  # many chose item 2


def test_a_judging_profile_never_saw_the_edge_nor_the_outer_fold(monkeypatch: pytest.MonkeyPatch) -> None:
    edges, _, features = case()
    cross = CrossFit(edges, fit=spectral_prior, null="uniform", seed=0, content=believed(features))
    cross.alignments(2)
    seen: list[Edges] = []

    def watched(graph: Edges, content: Content) -> np.ndarray:
        seen.append(graph)
        return profiles(graph, content)

    monkeypatch.setattr(trust_edges, "profiles", watched)
    cross.judged(2)
    folds = [fold for fold in range(FOLDS) if fold != 2]
    assert len(seen) == 2 * len(folds)
    for fold, graph in zip(folds * 2, seen, strict=True):
        for left_out in (2, fold):
            assert not graph.contains(cross.fold(left_out).keys).any()
