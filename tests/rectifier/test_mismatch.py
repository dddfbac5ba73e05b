"""The estimated share of mismatched items, on data where the answer is planted."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import binom

from trustmm.rectifier.mismatch import FOLDS, _shuffle_within, estimate_mismatch, p_values
from trustmm.rectifier.projection import ProjectionTraining
from trustmm.seeding import stream
from trustmm.trust.storey import LEAST_ITEMS, Estimate

TRAINING = ProjectionTraining(epochs=50, learning_rate=1e-3, batch_size=256)
NUM_ITEMS, TASTE, RAW, WIDTH = 3001, 8, 24, 16


def planted(eta: float, inherent: float, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Features and anchors, both noisy views of a latent taste; some features are of nobody, some permuted."""
    rng = np.random.default_rng(seed)
    taste = rng.standard_normal((NUM_ITEMS, TASTE))
    seen = taste.copy()
    nobody = rng.permutation(NUM_ITEMS)[: int(inherent * NUM_ITEMS)]
    seen[nobody] = rng.standard_normal((len(nobody), TASTE))
    features = seen @ rng.standard_normal((TASTE, RAW)) + 0.5 * rng.standard_normal((NUM_ITEMS, RAW))
    anchors = taste @ rng.standard_normal((TASTE, WIDTH)) + 0.5 * rng.standard_normal((NUM_ITEMS, WIDTH))
    chosen = rng.permutation(NUM_ITEMS)[: int(eta * NUM_ITEMS)]
    features[chosen] = features[rng.permutation(chosen)]
    return torch.from_numpy(features.astype(np.float32)), torch.from_numpy(anchors.astype(np.float32))


def estimate(features: torch.Tensor, anchors: torch.Tensor, usable: np.ndarray | None = None) -> Estimate:
    usable = np.ones(len(features), dtype=bool) if usable is None else usable
    return estimate_mismatch(features, anchors, usable, training=TRAINING, rng=stream(0, "mismatch"))


def identifiable(eta: float, seed: int) -> Estimate:
    """For features that are the item's own anchor or nobody's: no matched pair looks like a mismatched one."""
    rng = np.random.default_rng(seed)
    anchors = rng.standard_normal((500, 24)).astype(np.float32)
    features = anchors + 0.1 * rng.standard_normal(anchors.shape).astype(np.float32)
    nobody = rng.permutation(500)[: rng.binomial(500, eta)]
    features[nobody] = rng.standard_normal((len(nobody), 24))
    everyone, training = np.ones(500, dtype=bool), ProjectionTraining(epochs=20, learning_rate=0.02, batch_size=100)
    tensors = torch.from_numpy(features), torch.from_numpy(anchors)
    return estimate_mismatch(*tensors, everyone, training=training, rng=stream(seed, "mismatch"))


@pytest.mark.parametrize("eta", [0.0, 0.3, 1.0])
def test_truth_is_within_two_stated_errors_and_the_bias_is_smaller_than_one(eta: float) -> None:
    """The least of many quantiles gave 0.89 for 1.0; no matched pair that looks mismatched hides a bias here."""
    found = np.array([identifiable(eta, seed) for seed in range(20)])
    error = found[:, 1].mean()
    assert np.count_nonzero(abs(found[:, 0] - eta) <= 2 * found[:, 1]) >= binom.ppf(0.001, len(found), 0.9)
    assert -error <= found[:, 0].mean() - eta < error / 2 + 0.01
    assert np.sqrt(np.mean((found[:, 0] - eta) ** 2)) < 1.5 * error < 0.12


@pytest.mark.parametrize("inherent", [0.0, 0.1])
@pytest.mark.parametrize("eta", [0.0, 0.2, 0.4])
def test_estimate_is_the_planted_share(eta: float, inherent: float) -> None:
    found, planted_share = estimate(*planted(eta, inherent)), 1 - (1 - eta) * (1 - inherent)
    assert abs(found.value - planted_share) < max(0.01, 3 * found.standard_error) < 0.1


def test_estimate_is_near_one_where_features_follow_nothing() -> None:
    found = estimate(*planted(1.0, 0.0))
    assert abs(found.value - 1) < 3 * found.standard_error < 0.2


def test_estimate_looks_at_usable_items_only() -> None:
    features, anchors = planted(0.0, 0.0)
    cold = np.arange(NUM_ITEMS) % 3 == 0
    anchors[np.flatnonzero(cold)] = anchors[np.random.default_rng(5).permutation(np.flatnonzero(cold))]
    assert estimate(features, anchors).value > 0.2
    assert estimate(features, anchors, ~cold).value < 0.02


@pytest.mark.parametrize("count", [0, 1, LEAST_ITEMS - 1])
def test_too_few_items_give_no_estimate(count: int) -> None:
    features, anchors = planted(0.5, 0.0)
    assert np.isnan(estimate(features, anchors, np.arange(NUM_ITEMS) < count)).all()


def test_just_enough_items_give_one() -> None:
    features, anchors = planted(0.5, 0.0)
    assert np.isfinite(estimate(features, anchors, np.arange(NUM_ITEMS) < LEAST_ITEMS)).all()


def test_estimate_of_equal_streams_is_equal_and_inputs_stay() -> None:
    features, anchors = planted(0.2, 0.0)
    before = features.clone(), anchors.clone()
    assert estimate(features[:500], anchors[:500]) == estimate(features[:500], anchors[:500])
    assert torch.equal(features, before[0])
    assert torch.equal(anchors, before[1])


def test_p_value_is_the_share_of_the_null_at_or_above_a_score() -> None:
    null = np.array([0.1, 0.2, 0.2, 0.4], dtype=np.float32)
    found = p_values(np.array([0.0, 0.2, 0.3, 0.4, 0.5], dtype=np.float32), null)
    assert_allclose(found, [1, 0.8, 0.4, 0.4, 0.2])


def test_shuffle_moves_items_within_their_fold_only() -> None:
    fold = np.arange(53) % FOLDS
    moved = _shuffle_within(fold, stream(0, "shuffle"))
    assert_array_equal(fold[moved], fold)
    assert_array_equal(np.sort(moved), np.arange(53))
    assert (moved != np.arange(53)).mean() > 0.5
