"""Grenander's density and the local false discovery rate against what is known of them."""

import numpy as np
from numpy.testing import assert_allclose

from trustmm.trust.density import decreasing_density, local_fdr, p_values


def test_p_values_of_the_null_are_uniform_and_count_the_observed() -> None:
    assert_allclose(p_values(np.array([0.0, 2.0, 5.0]), np.arange(4.0)), [1.0, 3 / 5, 1 / 5])


def test_density_integrates_to_one_never_rises_and_is_flat_for_uniform_values() -> None:
    p = np.random.default_rng(0).beta(0.4, 3, 4000)
    density = decreasing_density(p)
    order = np.argsort(p)
    assert (np.diff(density[order]) <= 1e-12).all()
    width = np.diff(np.append(0, p[order]))
    assert_allclose((density[order] * width).sum(), 1, atol=1e-9)
    grid = (np.arange(5000) + 0.5) / 5000
    assert_allclose(decreasing_density(grid)[1:], 1, atol=1e-3)


def test_density_of_two_levels_is_known() -> None:
    assert_allclose(decreasing_density(np.array([0.25, 0.25, 0.25, 1.0])), [3, 3, 3, 1 / 3])


def test_rising_values_are_pooled() -> None:
    assert_allclose(decreasing_density(np.array([0.5, 0.9, 0.9, 1.0])), 1)


def test_local_fdr_is_the_posterior_of_a_known_mixture() -> None:
    rng = np.random.default_rng(1)
    null = rng.random(60_000) < 0.3
    p = np.where(null, rng.random(60_000), rng.beta(1, 8, 60_000))
    exact = 0.3 / (0.3 + 0.7 * 8 * (1 - p) ** 7)
    assert np.abs(local_fdr(p, 0.3) - exact).mean() < 0.02
