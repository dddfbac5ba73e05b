"""AUC and Gini coefficient against their definitions."""

import numpy as np
import pytest

from trustmm.evaluation.separation import auc, gini


def test_auc_counts_pairs_and_half_of_the_ties() -> None:
    low, high = np.array([0.1, 0.5]), np.array([0.5, 0.9, 0.2])
    assert auc(low, high) == pytest.approx((3 + 0.5 + 1 + 0) / 6)
    assert auc(high, low) == pytest.approx(1 - 4.5 / 6)
    assert (auc(low, low + 2), auc(low + 2, low), auc(np.ones(3), np.ones(2))) == (1, 0, 0.5)


def test_auc_without_one_of_the_groups_is_nan() -> None:
    assert np.isnan(auc(np.zeros(3), np.empty(0)))
    assert np.isnan(auc(np.empty(0), np.zeros(3)))


def test_gini_equals_the_mean_absolute_difference() -> None:
    mass = np.random.default_rng(0).gamma(0.5, size=53)
    expected = np.abs(mass[:, None] - mass).mean() / (2 * mass.mean())
    assert gini(mass) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("mass", "expected"), [([1, 1, 1, 1], 0), ([0, 0, 0, 5], 3 / 4), ([3, 1, 2], 2 / 9), ([0, 1], 1 / 2), ([7], 0)]
)
def test_gini_has_the_known_value(mass: list[float], expected: float) -> None:
    assert gini(np.array(mass, dtype=float)) == pytest.approx(expected)
