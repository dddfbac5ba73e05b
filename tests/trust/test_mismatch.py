"""Probabilities on planted data: calibrated, blind to labels and numbering, silent where there is nothing to say."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import binom, spearmanr

from trustmm.graph.edges import Edges
from trustmm.trust.mismatch import HOPELESS, Trust, judge

VIEWS = ("anchor", "structure", "modalities", "degree")
Plant = Callable[..., Any]


def judged(case: Any, **changes: Any) -> dict[str, Trust]:
    options = {"views": VIEWS, "k": 20, "seed": 0}
    return judge(case.features, case.edges, case.anchors, **(options | changes))


@pytest.mark.parametrize("eta", [0.0, 0.1, 0.2, 0.35, 0.5])
def test_share_and_probabilities_are_calibrated(eta: float, planted: Plant) -> None:
    """Of items said to be wrong with probability g a share g is: every bin of at least 100 items within the binomial
    bounds of 99.9 % of its mean g, widened by three standard errors of the estimated share (g is proportional to it).
    """
    case = planted(eta)
    for name, found in judged(case).items():
        warm = case.edges.item_degree > 0
        truth, g = case.touched[name][warm], found.probability[warm]
        error = 3 * found.eta.standard_error
        assert abs(found.eta.value - eta) < error + 0.02
        tenth = np.minimum((g * 10).astype(int), 9)
        for members in (tenth == one for one in range(10)):
            if members.sum() >= 100 and eta:
                slack = error * g[members].mean() / eta + 0.02
                low, high = (
                    binom.ppf(q, members.sum(), np.clip(g[members].mean() + side * slack, 0, 1)) / members.sum()
                    for q, side in ((0.0005, -1), (0.9995, 1))
                )
                assert low <= truth[members].mean() <= high, (name, g[members].mean(), truth[members].mean())


def test_wrong_features_are_told_from_right_ones_and_better_than_by_a_constant(planted: Plant) -> None:
    case = planted(0.2)
    for name, found in judged(case).items():
        truth = case.touched[name]
        assert ((found.probability - truth) ** 2).mean() < 0.5 * 0.2 * 0.8
        assert found.probability[truth].mean() > 4 * found.probability[~truth].mean()


def test_nothing_wrong_is_called_so(planted: Plant) -> None:
    for found in judged(planted(0.0)).values():
        assert (found.probability > 0.5).mean() < 0.01


def test_modality_of_pure_noise_is_hopeless_and_does_not_disturb_the_other(planted: Plant) -> None:
    case = planted(0.2)
    noise = np.random.default_rng(1).standard_normal(case.features["visual"].shape).astype(np.float32)
    alone = judged(replace(case, features={"textual": case.features["textual"]}))["textual"]
    both = judged(replace(case, features=case.features | {"visual": noise}))
    assert both["visual"].hopeless
    assert (both["visual"].probability == 1).all()
    assert not both["textual"].hopeless
    assert abs(both["textual"].eta.value - alone.eta.value) < 3 * alone.eta.standard_error + 0.01
    assert np.abs(both["textual"].probability - alone.probability).mean() < 0.03


@pytest.mark.parametrize("seed", range(5))
def test_content_that_never_follows_its_item_is_hopeless(seed: int, planted: Plant) -> None:
    for found in judged(planted(1.0, seed=seed, num_items=800)).values():
        assert found.hopeless
        assert found.eta.value >= HOPELESS


def test_relabelling_the_items_relabels_the_probabilities(planted: Plant) -> None:
    case = planted(0.3, num_items=900)
    new = np.random.default_rng(5).permutation(900)
    moved = {name: np.empty_like(matrix) for name, matrix in case.features.items()}
    anchors = np.empty_like(case.anchors)
    anchors[new] = case.anchors
    for name, matrix in case.features.items():
        moved[name][new] = matrix
    edges = Edges.of(case.edges.users, new[case.edges.items], case.edges.num_users, 900)
    first = judged(case)
    second = judged(replace(case, features=moved, anchors=anchors, edges=edges))
    for name in first:
        assert_allclose(second[name].probability[new], first[name].probability, atol=1e-3)


def test_equal_seeds_repeat_every_bit_and_other_seeds_agree(planted: Plant) -> None:
    case = planted(0.2, num_items=1500)
    first, again, other = judged(case), judged(case), judged(case, seed=1)
    for name, found in first.items():
        assert_array_equal(found.probability, again[name].probability)
        assert not np.array_equal(found.probability, other[name].probability)
        assert spearmanr(found.probability, other[name].probability).statistic > 0.8


def test_one_modality_alone_is_judged_by_clicks(planted: Plant) -> None:
    case = planted(0.2)
    alone = judged(replace(case, features={"visual": case.features["visual"]}))["visual"]
    assert set(alone.views) == {"anchor", "structure"}
    assert abs(alone.eta.value - 0.2) < 3 * alone.eta.standard_error + 0.02


@pytest.mark.parametrize("views", [["anchor"], ["structure"], ["modalities"], ["degree"], []])
def test_any_choice_of_views_gives_probabilities(views: list[str], planted: Plant) -> None:
    case = planted(0.2, num_items=1200)
    for found in judged(case, views=views).values():
        assert ((found.probability >= 0) & (found.probability <= 1)).all()
        assert found.hopeless is (views in ([], ["degree"]))


def test_exact_duplicates_share_their_content_and_do_not_move_the_estimate(planted: Plant) -> None:
    case = planted(0.2)
    features = {name: matrix.copy() for name, matrix in case.features.items()}
    for name, matrix in features.items():
        right = np.flatnonzero(~case.touched[name])
        matrix[right] = case.clean[name][right[np.arange(len(right)) // 3 * 3]]
        matrix[right] = matrix[right].round(1)
    for found in judged(replace(case, features=features)).values():
        assert np.isfinite(found.probability).all()
        assert 0 <= found.eta.value <= 1


def test_rows_without_content_are_finite(planted: Plant) -> None:
    case = planted(0.2, num_items=1200)
    case.features["visual"][:400] = 0
    case.features["textual"][:] = 3
    found = judged(case)
    assert np.isfinite(found["visual"].probability).all()
    assert found["textual"].hopeless


def test_cold_items_keep_the_prior_and_are_never_learned_from(planted: Plant) -> None:
    case = planted(0.2, num_items=1200, cold=200)
    first = judged(case)
    changed = {name: matrix.copy() for name, matrix in case.features.items()}
    for matrix in changed.values():
        matrix[1000:] = 1e3
    anchors = case.anchors.copy()
    anchors[1000:] = -7
    second = judged(replace(case, features=changed, anchors=anchors))
    for name, found in first.items():
        assert (found.probability[1000:] == found.eta.value).all()
        assert all(np.isnan(view[1000:]).all() for view in found.views.values())
        assert_array_equal(second[name].probability, found.probability)


@pytest.mark.parametrize("power", [-96, 96])
def test_the_unit_of_a_feature_does_not_count(power: int, planted: Plant) -> None:
    case = planted(0.2, num_items=600)
    scaled = case.features | {"visual": np.ldexp(case.features["visual"], power)}
    found = judged(replace(case, features=scaled))
    for name, expected in judged(case).items():
        assert_allclose(found[name].probability, expected.probability, atol=1e-6)


@pytest.mark.parametrize("scale", [1e19, 1e-24])
def test_one_row_in_another_unit_has_content_and_leaves_the_others_theirs(scale: float, planted: Plant) -> None:
    case = planted(0.2, num_items=600)
    wild = case.features["visual"].copy()
    wild[7] *= np.float32(scale)
    found, expected = judged(replace(case, features=case.features | {"visual": wild})), judged(case)
    for name in found:
        assert np.abs(found[name].probability - expected[name].probability).mean() < 0.02
    assert found["visual"].views["structure"][7] == pytest.approx(expected["visual"].views["structure"][7], abs=0.15)


def test_few_items_are_not_judged(planted: Plant) -> None:
    for found in judged(planted(0.2, num_items=49)).values():
        assert np.isnan(found.probability).all()
        assert np.isnan(found.eta.value)
        assert found.hopeless


def test_inputs_are_left_alone(planted: Plant) -> None:
    case = planted(0.2, num_items=600)
    before = {name: matrix.copy() for name, matrix in case.features.items()}
    anchors = case.anchors.copy()
    judged(case)
    for name, matrix in before.items():
        assert_array_equal(case.features[name], matrix)
    assert_array_equal(case.anchors, anchors)
