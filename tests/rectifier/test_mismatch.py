"""The estimated share of mismatched items, on data where the answer is planted."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from trustmm.rectifier.mismatch import FOLDS, QUANTILES, _shuffle_within, estimate_mismatch, storey_share
from trustmm.rectifier.projection import ProjectionTraining
from trustmm.seeding import stream

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


def estimate(features: torch.Tensor, anchors: torch.Tensor, usable: np.ndarray | None = None) -> float:
    usable = np.ones(len(features), dtype=bool) if usable is None else usable
    return estimate_mismatch(features, anchors, usable, training=TRAINING, rng=stream(0, "mismatch"))


@pytest.mark.parametrize("inherent", [0.0, 0.1])
@pytest.mark.parametrize("eta", [0.0, 0.2, 0.4])
def test_estimate_is_close_to_the_planted_share(eta: float, inherent: float) -> None:
    planted_share = 1 - (1 - eta) * (1 - inherent)
    assert_allclose(estimate(*planted(eta, inherent)), planted_share, atol=0.08)


def test_estimate_is_near_one_where_features_follow_nothing() -> None:
    features, anchors = planted(1.0, 0.0)
    assert estimate(features, anchors) > 0.9


def test_estimate_looks_at_usable_items_only() -> None:
    features, anchors = planted(0.0, 0.0)
    cold = np.arange(NUM_ITEMS) % 3 == 0
    anchors[np.flatnonzero(cold)] = anchors[np.random.default_rng(5).permutation(np.flatnonzero(cold))]
    assert estimate(features, anchors) > 0.2
    assert estimate(features, anchors, ~cold) < 0.08


def test_estimate_of_a_handful_of_items_is_zero() -> None:
    features, anchors = planted(0.5, 0.0)
    usable = np.arange(NUM_ITEMS) < 2 * FOLDS - 1
    assert estimate(features, anchors, usable) == 0


def test_estimate_of_equal_streams_is_equal_and_inputs_stay() -> None:
    features, anchors = planted(0.2, 0.0)
    before = features.clone(), anchors.clone()
    assert estimate(features[:500], anchors[:500]) == estimate(features[:500], anchors[:500])
    assert torch.equal(features, before[0])
    assert torch.equal(anchors, before[1])


def test_storey_share_is_one_where_scores_are_the_null() -> None:
    null = np.random.default_rng(0).standard_normal(4000).astype(np.float32)
    assert storey_share(null, null) == pytest.approx(1, abs=0.01)
    assert storey_share(null - 100, null) == 1


def test_storey_share_is_zero_where_no_score_is_low() -> None:
    null = np.random.default_rng(0).standard_normal(4000).astype(np.float32)
    assert storey_share(null + 100, null) == 0


@pytest.mark.parametrize("share", [0.1, 0.25, 0.6])
def test_storey_share_is_the_weight_of_the_null_in_a_mixture(share: float) -> None:
    null = np.linspace(-1, 1, 2000)
    mixed = np.where(np.arange(2000) % 20 < share * 20, null, 9.0)
    assert storey_share(mixed, null) == pytest.approx(share, abs=0.02)


def test_storey_share_takes_the_smallest_over_the_quantiles() -> None:
    null = np.arange(1000.0)
    scores = np.concatenate([np.full(50, -1.0), np.full(950, 2000.0)])
    assert storey_share(scores, null) == pytest.approx(0.05 / QUANTILES.max(), abs=1e-3)


def test_shuffle_moves_items_within_their_fold_only() -> None:
    fold = np.arange(53) % FOLDS
    moved = _shuffle_within(fold, stream(0, "shuffle"))
    assert_array_equal(fold[moved], fold)
    assert_array_equal(np.sort(moved), np.arange(53))
    assert (moved != np.arange(53)).mean() > 0.5
