"""The statistics do what they say, on data whose truth is known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from trustmm.seeding import stream
from trustmm.statistics.seeds import (
    area_under_curve,
    crossed_bootstrap,
    holm,
    over_seeds,
    per_user_p,
    relative_drop,
    slope,
)

SEEDS, USERS, EFFECT = 5, 120, 0.01
SEED_SD, USER_SD, NOISE_SD = 0.004, 0.02, 0.05
TAIL = 1e-4


def bounds(number: int, rate: float) -> tuple[int, int]:
    """Counts that a binomial of this rate leaves with probability 2e-4: computed, not guessed."""
    law = stats.binom(number, rate)
    return int(law.ppf(TAIL)), int(law.ppf(1 - TAIL))


def study(rng: np.random.Generator, effect: float) -> tuple[np.ndarray, float]:
    """Differences by seed and user, and the effect on just these users."""
    users_U = rng.normal(0, USER_SD, USERS)
    noise_SU = rng.normal(0, SEED_SD, (SEEDS, 1)) + rng.normal(0, NOISE_SD, (SEEDS, USERS))
    return effect + users_U + noise_SU, effect + float(users_U.mean())


def test_interval_of_three_values_is_the_textbook_one() -> None:
    found = over_seeds([1.0, 2.0, 3.0])
    assert found.estimate == 2.0
    np.testing.assert_allclose(
        [found.low, found.high], [2 - 4.302653 / np.sqrt(3), 2 + 4.302653 / np.sqrt(3)], rtol=1e-6
    )
    np.testing.assert_allclose(found.p, stats.ttest_1samp([1.0, 2.0, 3.0], 0).pvalue)


def test_interval_of_one_among_many_covers_all_of_them_at_the_level() -> None:
    rng, number = np.random.default_rng(0), 10
    found = [[over_seeds(values).one_of(number) for values in rng.normal(size=(number, 5))] for _ in range(2000)]
    missed = np.mean([any(not one.low < 0 < one.high for one in family) for family in found])
    assert 0.035 < missed < 0.065
    assert over_seeds([1.0, 2.0]).one_of(1) == over_seeds([1.0, 2.0])


def test_one_seed_has_no_interval_and_decides_nothing() -> None:
    found = over_seeds([0.3])
    assert (found.low, found.high, found.p) == (-np.inf, np.inf, 1.0)


@pytest.mark.parametrize("values", [[], [0.1, float("nan")]])
def test_missing_values_are_refused(values: list[float]) -> None:
    with pytest.raises(ValueError, match="at least one value, all finite"):
        over_seeds(values)


def test_interval_over_seeds_covers_a_known_effect_at_its_nominal_rate() -> None:
    rng, number = stream(0, "test", "coverage"), 1500
    covered = 0
    for _ in range(number):
        values_SU, truth = study(rng, EFFECT)
        found = over_seeds(values_SU.mean(axis=1))
        covered += found.low <= truth <= found.high
    low, high = bounds(number, 0.95)
    assert low <= covered <= high


def test_without_an_effect_the_false_positive_rate_is_the_level() -> None:
    rng, number = stream(0, "test", "null"), 1500
    wrong = sum(over_seeds(rng.normal(0, 1, SEEDS)).p < 0.05 for _ in range(number))
    low, high = bounds(number, 0.05)
    assert low <= wrong <= high


def test_users_of_one_seed_call_equal_models_different_far_too_often() -> None:
    rng, number = stream(0, "test", "per user"), 500
    wrong = 0
    for _ in range(number):
        values_U = rng.normal(0, 2 * SEED_SD) + rng.normal(0, NOISE_SD, 2000)  # one training, no effect on average
        wrong += per_user_p(values_U) < 0.05
    assert wrong > bounds(number, 0.05)[1] * 4


def test_crossed_bootstrap_covers_the_effect_on_new_users_at_least_at_its_rate() -> None:
    rng, number = stream(0, "test", "bootstrap"), 300
    covered, errors, means = 0, [], []
    for _ in range(number):
        values_SU, _ = study(rng, EFFECT)
        found = crossed_bootstrap(values_SU, rng, num_draws=150)
        assert found is not None
        covered += found.low <= EFFECT <= found.high
        errors.append(found.half_width / stats.t.ppf(0.975, SEEDS - 1))
        means.append(found.estimate)
    assert covered >= bounds(number, 0.95)[0]
    assert 1 <= np.mean(np.square(errors)) / np.var(means) < 3  # cautious, not useless


def test_interval_over_seeds_alone_does_not_speak_for_new_users() -> None:
    rng, number = stream(0, "test", "users"), 1500
    covered = 0
    for _ in range(number):
        found = over_seeds(study(rng, EFFECT)[0].mean(axis=1))
        covered += found.low <= EFFECT <= found.high
    assert covered < bounds(number, 0.95)[0]


def test_bootstrap_waits_for_five_seeds() -> None:
    assert crossed_bootstrap(np.zeros((4, 10)), stream(0, "test")) is None


def test_holm_of_three_is_the_textbook_one() -> None:
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03]), [0.03, 0.06, 0.06])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_never_lowers_a_p_value_nor_changes_the_order(p_values: list[float]) -> None:
    adjusted = holm(p_values)
    assert (adjusted >= np.minimum(p_values, 1)).all()
    assert (adjusted <= 1).all()
    order = np.argsort(p_values, kind="stable")
    assert (np.diff(adjusted[order]) >= 0).all()


def test_holm_keeps_a_table_of_nothing_at_the_level() -> None:
    rng, number = stream(0, "test", "holm"), 600
    wrong = sum((holm([over_seeds(rng.normal(0, 1, SEEDS)).p for _ in range(6)]) < 0.05).any() for _ in range(number))
    assert wrong <= bounds(number, 0.05)[1]


def test_area_is_the_height_of_a_flat_curve_and_the_middle_of_a_line() -> None:
    assert area_under_curve([0, 0.1, 0.5], [0.3, 0.3, 0.3]) == pytest.approx(0.3)
    assert area_under_curve([0, 0.1, 0.5], [0.5, 0.4, 0.0]) == pytest.approx(0.25)
    with pytest.raises(ValueError, match="two or more increasing etas"):
        area_under_curve([0.2, 0.1], [1, 1])


def test_drop_and_slope() -> None:
    assert relative_drop(0.4, 0.3) == pytest.approx(0.25)
    assert slope([0, 0.2, 0.4], [1, 2, 3]) == pytest.approx(5)
