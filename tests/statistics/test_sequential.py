"""Errors over all looks, by simulation: bounds are binomial ones at 4 standard deviations, for fixed streams."""

import numpy as np
import pytest
from scipy import stats

from trustmm.statistics.seeds import holm, over_seeds
from trustmm.statistics.sequential import (
    Looks,
    Question,
    e_value,
    look_p,
    looks,
    read,
    repeated_interval,
)

AT = (3, 4, 5, 6, 8, 10, 13, 16, 20)


@pytest.fixture(scope="module")
def when() -> Looks:
    return looks(AT, np.random.default_rng(0))


@pytest.fixture(scope="module")
def gains() -> Looks:
    """The looks of a one-sided question."""
    return looks(AT, np.random.default_rng(7), sided=1, num_draws=50_000)


def far(share: float, expected: float, draws: int) -> float:
    return (share - expected) / np.sqrt(expected * (1 - expected) / draws)


def test_the_nominal_level_of_nine_looks_is_the_published_one(when: Looks) -> None:
    assert when.nominal(0.05) == pytest.approx(0.0093, abs=0.0004)
    assert looks([5], np.random.default_rng(1)).nominal(0.05) == pytest.approx(0.05, abs=0.003)


def test_a_look_is_the_paired_t_test() -> None:
    values = [0.3, -0.1, 0.4, 0.2]
    assert look_p(values) == pytest.approx(over_seeds(values).p)
    assert look_p(values, 1) == pytest.approx(over_seeds(values).p / 2)
    assert (look_p([0.0, 0.0]), look_p([1.0, 1.0]), look_p([-1.0, -1.0], 1)) == (1.0, 0.0, 1.0)


def test_stopping_at_the_first_crossing_errs_as_often_as_asked_and_its_p_is_uniform_or_above(when: Looks) -> None:
    paths, level = np.random.default_rng(2).standard_normal((2000, AT[-1])), when.nominal(0.05)
    crossed = np.mean([any(look_p(path[:n]) <= level for n in AT) for path in paths])
    assert abs(far(crossed, 0.05, len(paths))) < 4
    p = np.array([when.p(path) for path in paths])
    assert all(far(np.mean(p <= x), x, len(p)) < 4 for x in (0.01, 0.05, 0.2, 0.5))


def test_the_repeated_interval_covers_at_all_looks_together(when: Looks) -> None:
    paths, level = 0.7 + np.random.default_rng(3).standard_normal((1500, AT[-1])), when.nominal(0.05)
    inside = [all(low < 0.7 < high for low, high in (repeated_interval(path[:n], level) for n in AT)) for path in paths]
    assert abs(far(float(np.mean(inside)), 0.95, len(paths))) < 4


def test_the_e_value_is_a_fair_bet_at_any_time_and_grows_with_an_effect() -> None:
    paths = np.random.default_rng(4).standard_normal((2000, 40))
    ever = np.mean([max(e_value(path[:n]) for n in range(1, 41)) >= 20 for path in paths])
    assert far(ever, 0.05, len(paths)) < 4
    assert e_value([3.0]) == pytest.approx(1.0)
    assert e_value([0.0, 0.0]) == 1.0
    assert e_value(np.tile([0.9, 1.1], 10)) > 1e6
    assert e_value([0.1, 0.3, 0.2]) == pytest.approx(e_value([10, 30, 20]))


def outcome(when: Looks, mean: float, seed: int, margin: float) -> tuple[str, int]:
    draws = mean + np.random.default_rng([5, seed]).standard_normal(AT[-1])
    question, rng = Question(0.05, margin), np.random.default_rng([6, seed])
    for n in AT:
        found = read(draws[:n], when, question, rng)
        if found.state != "undecided":
            return found.state, n
    raise AssertionError("the last look decides")


def test_outcomes_of_planted_effects(when: Looks) -> None:
    strong = [outcome(when, 2.0, seed, 0.0) for seed in range(150)]
    assert sum(state == "better" for state, _ in strong) > 140
    assert np.mean([n for _, n in strong]) < 9
    losses = [outcome(when, -2.0, seed, 0.0)[0] for seed in range(40)]
    assert losses.count("worse") > 35
    null = [outcome(when, 0.0, seed, 0.0) for seed in range(300)]
    assert far(np.mean([state in ("better", "worse") for state, _ in null]), 0.05, 300) < 4
    assert np.mean([n for _, n in null]) < 14
    same = [outcome(when, 0.0, seed, 1.5)[0] for seed in range(60)]
    assert same.count("equivalent") > 50


def test_power_is_what_the_page_states(when: Looks) -> None:
    """docs/evidence.md: a difference as large as its spread over seeds is found in 93 % of studies."""
    found = [outcome(when, 1.0, seed, 0.0)[0] for seed in range(1000, 1200)]
    assert abs(far(found.count("better") / len(found), 0.93, len(found))) < 4


def test_a_question_about_gains_errs_as_often_as_asked_and_never_says_worse(gains: Looks) -> None:
    null = [outcome(gains, 0.0, seed, 0.0)[0] for seed in range(300)]
    assert far(null.count("better") / 300, 0.05, 300) < 4
    losses = [outcome(gains, -2.0, seed, 0.0) for seed in range(40)]
    assert {state for state, _ in losses} == {"futile"}
    assert np.mean([n for _, n in losses]) < 4, "a loss has no chance of becoming a gain: no more seeds are spent on it"
    level = gains.nominal(0.05)
    for mean in (0.4, 1.0, 2.0):
        values = mean + np.random.default_rng(round(10 * mean)).standard_normal(8)
        low, high = repeated_interval(values, level, 1)
        assert (low > 0) == (look_p(values, 1) <= level)
        assert (low + high) / 2 == pytest.approx(values.mean())
    noise = np.array([-1.0, 1.0] * 4) / np.sqrt(8 / 7)  # mean 0, standard deviation 1
    near = noise + stats.t.isf(0.75 * level, 7) / np.sqrt(8)
    found = read(near, gains, Question(0.05, 0.0), np.random.default_rng(0))
    assert (found.state, look_p(near, 1)) == ("better", pytest.approx(0.75 * level))
    assert found.low > 0, "an interval of the two-sided test would reach below 0"
    paths = np.random.default_rng(8).standard_normal((1000, AT[-1]))
    covered = [all(repeated_interval(path[:n], level, 1)[0] < 0 for n in AT) for path in paths]
    assert abs(far(float(np.mean(covered)), 0.95, len(paths))) < 4


def test_a_family_of_comparisons_that_share_a_base_and_stop_anywhere_keeps_its_level(when: Looks) -> None:
    rng, false = np.random.default_rng(9), 0
    for _ in range(300):
        paths = (rng.standard_normal((6, AT[-1])) + rng.standard_normal(AT[-1])) / np.sqrt(2)
        stops = rng.choice(AT, 6)
        false += holm([when.p(path[:n]) for path, n in zip(paths, stops, strict=True)]).min() <= 0.05
    assert far(false / 300, 0.05, 300) < 4


def test_equivalence_is_wrong_at_its_margin_no_more_often_than_asked(when: Looks) -> None:
    at_margin = [outcome(when, 1.0, seed, 1.0)[0] for seed in range(300)]
    assert far(at_margin.count("equivalent") / 300, 0.05, 300) < 4


@pytest.mark.parametrize("at", [[], [1, 2], [3, 3], [5, 4]])
def test_looks_that_do_not_increase_are_refused(at: list[int]) -> None:
    with pytest.raises(ValueError, match="looks must be increasing"):
        looks(at, np.random.default_rng(0))
