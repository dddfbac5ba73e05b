"""Step 1: small-loss selection against a loop, and projections that find a planted map."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from trustmm.rectifier.projection import Projections, ProjectionTraining, fit_projections, kept_of, small_loss_mean
from trustmm.seeding import stream

PROPERTY = settings(derandomize=True, deadline=None, max_examples=50, database=None)
TRAINING = ProjectionTraining(epochs=60, learning_rate=0.02, batch_size=64)
NUM_ITEMS, RAW, WIDTH = 229, 7, 5


def planted(seed: int = 0, mismatched: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Features, anchors that follow them linearly, and the features before the first ones were shuffled."""
    rng = np.random.default_rng(seed)
    clean = rng.standard_normal((NUM_ITEMS, RAW)).astype(np.float32)
    anchors = (clean @ rng.standard_normal((RAW, WIDTH)) + 0.3).astype(np.float32)
    observed = clean.copy()
    observed[:mismatched] = clean[:mismatched][rng.permutation(mismatched)]
    return torch.from_numpy(observed), torch.from_numpy(anchors), torch.from_numpy(clean)


def everyone(count: int = 1) -> torch.Tensor:
    return torch.ones(NUM_ITEMS, count, dtype=torch.bool)


def loop_small_loss(loss: np.ndarray, member: np.ndarray, rho: float) -> float:
    total = 0.0
    for column in range(loss.shape[1]):
        losses = sorted(loss[row, column] for row in range(len(loss)) if member[row, column])
        if losses:
            kept = losses[: max(1, math.floor(Fraction(repr(rho)) * len(losses)))]
            total += sum(kept) / len(kept)
    return total


@PROPERTY
@given(
    seed=st.integers(0, 999),
    rows=st.integers(1, 120),
    maps=st.integers(1, 4),
    share=st.sampled_from([0.0, 0.3, 1.0]),
    rho=st.sampled_from([0.05, 0.25, 0.29, 0.57, 0.7, 0.9, 1.0]),
)
def test_small_loss_mean_equals_a_loop(seed: int, rows: int, maps: int, share: float, rho: float) -> None:
    rng = np.random.default_rng(seed)
    loss, member = rng.random((rows, maps)), rng.random((rows, maps)) < share
    found = small_loss_mean(torch.from_numpy(loss), torch.from_numpy(member), kept_of(rho, rows))
    assert_allclose(found.item(), loop_small_loss(loss, member, rho), rtol=1e-12)


def test_small_loss_gradient_reaches_only_the_kept_share() -> None:
    loss = torch.tensor([[0.4], [0.1], [0.3], [0.2], [0.0]], dtype=torch.float64, requires_grad=True)
    member = torch.tensor([[True], [True], [True], [True], [False]])
    small_loss_mean(loss, member, kept_of(0.5, 5)).backward()
    assert_allclose(loss.grad[:, 0].numpy(), [0, 0.5, 0, 0.5, 0])


def test_projections_are_normalised_linear_maps() -> None:
    rng = np.random.default_rng(1)
    weight, bias, rows = rng.standard_normal((3, 5, 7)), rng.standard_normal((3, 5)), rng.standard_normal((4, 7))
    found = Projections(*map(torch.from_numpy, (weight, bias)))(torch.from_numpy(rows))
    for place in range(3):
        expected = rows @ weight[place].T + bias[place]
        expected /= np.linalg.norm(expected, axis=1, keepdims=True)
        assert_allclose(found[:, place].numpy(), expected, rtol=1e-10)


def fit(features: torch.Tensor, anchors: torch.Tensor, members: torch.Tensor, rho: float = 1.0) -> Projections:
    return fit_projections(features, anchors, members, rho=rho, training=TRAINING, rng=stream(0, "test"))


def agreement(maps: Projections, features: torch.Tensor, anchors: torch.Tensor) -> torch.Tensor:
    return (maps(features)[:, 0] * torch.nn.functional.normalize(anchors, dim=1)).sum(1)


def test_projection_finds_a_planted_linear_map() -> None:
    features, anchors, _ = planted()
    assert agreement(fit(features, anchors, everyone()), features, anchors).mean() > 0.98


def test_projection_ignores_the_length_of_an_anchor() -> None:
    features, anchors, _ = planted()
    scaled = anchors * torch.linspace(0.1, 50, NUM_ITEMS)[:, None]
    found, expected = fit(features, scaled, everyone()), fit(features, anchors, everyone())
    torch.testing.assert_close(found.weight, expected.weight, rtol=1e-2, atol=1e-3)


def test_small_loss_selection_resists_mismatched_pairs() -> None:
    observed, anchors, clean = planted(mismatched=90)
    all_pairs, selected = (fit(observed, anchors, everyone(), rho) for rho in (1.0, 0.6))
    gain = agreement(selected, clean, anchors).mean() - agreement(all_pairs, clean, anchors).mean()
    assert gain > 0.003
    assert agreement(selected, clean, anchors).mean() > 0.97


def test_projection_does_not_see_items_it_is_not_trained_on() -> None:
    features, anchors, _ = planted()
    members = everyone()
    members[:50] = False
    other = anchors.clone()
    other[:50] = torch.flip(anchors[:50], [0, 1])
    first, second = fit(features, anchors, members), fit(features, other, members)
    torch.testing.assert_close(first.weight, second.weight)
    assert (fit(features, other, everyone()).weight - second.weight).abs().max() > 1e-3


def test_projections_side_by_side_do_not_influence_each_other() -> None:
    features, anchors, _ = planted()
    members = everyone(3)
    fewer = members.clone()
    fewer[:99, 1] = False
    both, changed = fit(features, anchors, members), fit(features, anchors, fewer)
    torch.testing.assert_close(both.weight[[0, 2]], changed.weight[[0, 2]], rtol=1e-4, atol=1e-5)
    assert (both.weight[1] - changed.weight[1]).abs().max() > 1e-3


def test_equal_streams_give_equal_projections_and_inputs_stay() -> None:
    features, anchors, _ = planted()
    before = features.clone(), anchors.clone()
    first, second = (fit(features, anchors, everyone()) for _ in range(2))
    assert torch.equal(first.weight, second.weight)
    assert torch.equal(first.bias, second.bias)
    assert not first.weight.requires_grad
    assert torch.equal(features, before[0])
    assert torch.equal(anchors, before[1])


@pytest.mark.parametrize("rho", [0.001, 1.0])
def test_projection_survives_zero_rows_and_batches_without_members(rho: float) -> None:
    features, anchors, _ = planted()
    features[:3] = anchors[2:6] = 0
    members = torch.zeros(NUM_ITEMS, 2, dtype=torch.bool)
    members[0, 0] = True
    assert bool(torch.isfinite(fit(features, anchors, members, rho).weight).all())
