"""The share of nulls from p-values: known mixtures, its own standard error, few items."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.stats import binom

from trustmm.seeding import stream
from trustmm.trust.storey import LEAST_ITEMS, storey


def mixture(share: float, count: int, rng: np.random.Generator) -> np.ndarray:
    """Exactly this share of uniform values, the others concentrated near 0."""
    nulls = round(share * count)
    return np.concatenate([rng.random(nulls), rng.beta(0.3, 12, count - nulls)])


@pytest.mark.parametrize("share", [0.0, 0.1, 0.2, 0.5, 0.9, 1.0])
def test_known_share_is_found_within_its_own_error(share: float) -> None:
    found = storey(mixture(share, 20_000, np.random.default_rng(3)), stream(0, "storey"))
    assert abs(found.value - share) < 4 * found.standard_error + 0.005
    assert 0 <= found.standard_error < 0.05


@pytest.mark.parametrize("share", [0.0, 0.02, 0.1, 0.4, 1.0])
@pytest.mark.parametrize("count", [50, 1000])
def test_truth_is_within_two_stated_errors_as_often_as_they_promise_and_the_bias_is_small(
    share: float, count: int
) -> None:
    """A fixed threshold claims half of the spread. The spread alone is a sixth too little at 1.0, as the estimate is
    low, and where one of 50 is null it is 0 in most samples.
    """
    found = []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        found.append(storey(mixture(rng.binomial(count, share) / count, count, rng), stream(seed, "storey")))
    values, errors = np.array(found).T
    inside = np.count_nonzero(abs(values - share) <= 2 * errors)
    assert inside >= binom.ppf(0.001, len(found), 0.9)
    off = np.sqrt(np.mean((values - share) ** 2))
    assert off < 1.15 * errors.mean()
    assert errors.mean() < 1.4 * off + 3 / count
    assert -0.75 * errors.mean() < values.mean() - share < 0.25 * errors.mean()


def test_estimate_is_not_the_luckiest_of_many() -> None:
    """Mean of 60 samples, whose own spread is below 0.02; around the smallest estimate it would be 0.018 too small."""
    found = [
        storey(mixture(0.5, 3000, np.random.default_rng(seed)), stream(seed, "storey")).value for seed in range(60)
    ]
    assert abs(np.mean(found) - 0.5) < 0.012


def test_share_is_never_above_one() -> None:
    assert storey(np.full(100, 1.0), stream(0, "storey")).value == 1


def test_all_small_values_have_no_null() -> None:
    assert storey(np.zeros(100), stream(0, "storey")).value == 0


def test_order_of_the_values_is_irrelevant() -> None:
    p = mixture(0.3, 500, np.random.default_rng(0))
    assert storey(p, stream(0, "storey")) == storey(p[::-1], stream(0, "storey"))


@pytest.mark.parametrize("count", [0, 1, LEAST_ITEMS - 1])
def test_too_few_items_give_no_estimate(count: int) -> None:
    assert np.isnan(storey(np.zeros(count), stream(0, "storey"))).all()


def test_the_error_of_values_in_groups_is_the_spread_over_samples_of_groups() -> None:
    """Four equal values a group: as uncertain as a quarter of the values, not as all of them."""
    values, errors, alone = [], [], []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        single = np.where(rng.random(400) < 0.5, rng.random(400), rng.random(400) * 0.01)
        group = np.repeat(np.arange(400), 4)
        found = storey(np.repeat(single, 4), rng, group=group)
        values.append(found.value)
        errors.append(found.standard_error)
        alone.append(storey(np.repeat(single, 4), rng).standard_error)
    assert_allclose(np.mean(errors), np.std(values, ddof=1), rtol=0.3)
    assert np.mean(alone) < 0.7 * np.mean(errors)
