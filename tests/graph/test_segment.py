"""Segment reductions against NumPy, with both implementations where both are installed."""

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.special import logsumexp

from trustmm.graph import segment
from trustmm.graph.segment import segment_logsumexp, segment_max, segment_softmax, segment_sum

PROPERTY = settings(
    derandomize=True,
    deadline=None,
    max_examples=50,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
LENGTHS = st.lists(st.integers(0, 7), min_size=1, max_size=17)


@pytest.fixture(params=["torch", "torch_scatter"], autouse=True)
def _implementation(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "torch":
        monkeypatch.setattr(segment, "segment_csr", None)
    else:
        scatter = pytest.importorskip("torch_scatter", reason="the extra `scatter` is not installed")
        monkeypatch.setattr(segment, "segment_csr", scatter.segment_csr)


def draw(lengths: list[int], scale: float, dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, torch.Tensor]:
    values = np.random.default_rng(sum(lengths)).standard_normal(sum(lengths)) * scale
    return torch.from_numpy(values).to(dtype), torch.tensor([0, *np.cumsum(lengths)])


def pieces(values: torch.Tensor, offsets: torch.Tensor) -> list[np.ndarray]:
    return np.split(values.numpy(), offsets[1:-1].numpy())


@PROPERTY
@given(lengths=LENGTHS, scale=st.sampled_from([1e-30, 1.0, 1e6]))
def test_sums_and_maxima_equal_numpy(lengths: list[int], scale: float) -> None:
    values, offsets = draw(lengths, scale)
    parts = pieces(values, offsets)
    assert_allclose(
        segment_sum(values, offsets).numpy(), [part.sum() for part in parts], rtol=1e-12, atol=scale * 1e-12
    )
    assert_allclose(segment_max(values, offsets).numpy(), [part.max(initial=-np.inf) for part in parts])


@PROPERTY
@given(lengths=LENGTHS, scale=st.sampled_from([1e-30, 1.0, 1e3, 1e6]))
def test_logsumexp_equals_scipy(lengths: list[int], scale: float) -> None:
    values, offsets = draw(lengths, scale)
    expected = [logsumexp(part) if len(part) else -np.inf for part in pieces(values, offsets)]
    assert_allclose(segment_logsumexp(values, offsets).numpy(), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("shift", [-1e4, -800.0, 0.0, 800.0, 1e4])
def test_logsumexp_is_stable_for_any_shift(shift: float) -> None:
    values = torch.tensor([0.0, 1.0, 2.0, -3.0], dtype=torch.float64) + shift
    found = segment_logsumexp(values, torch.tensor([0, 3, 4]))
    assert_allclose(found.numpy(), [np.log(1 + np.e + np.e**2) + shift, shift - 3], rtol=1e-12)


def test_segments_of_different_size_of_values_do_not_disturb_each_other() -> None:
    values = torch.tensor([1e5, -1e5, -1e5], dtype=torch.float64)
    found = segment_logsumexp(values, torch.tensor([0, 1, 3]))
    assert_allclose(found.numpy(), [1e5, -1e5 + np.log(2)], rtol=1e-15)


def test_empty_segments_are_zero_and_minus_infinity() -> None:
    values, offsets = torch.tensor([5.0, 7.0]), torch.tensor([0, 0, 2, 2, 2])
    assert_allclose(segment_sum(values, offsets).numpy(), [0, 12, 0, 0])
    assert_allclose(segment_max(values, offsets).numpy(), [-np.inf, 7, -np.inf, -np.inf])
    assert_allclose(segment_logsumexp(values, offsets).numpy()[[0, 2, 3]], -np.inf)


def test_minus_infinity_is_an_empty_summand() -> None:
    values = torch.tensor([-torch.inf, 2.0, -torch.inf], dtype=torch.float64)
    assert_allclose(segment_logsumexp(values, torch.tensor([0, 2, 3])).numpy(), [2, -np.inf])


@PROPERTY
@given(lengths=LENGTHS, scale=st.sampled_from([1.0, 300.0]))
def test_softmax_is_that_of_each_piece_with_its_gradient(lengths: list[int], scale: float) -> None:
    values, offsets = draw(lengths, scale)
    ours, theirs = values.clone().requires_grad_(), values.clone().requires_grad_()
    weight = torch.linspace(-1, 1, len(values), dtype=values.dtype)
    found = segment_softmax(ours, offsets)
    expected = torch.cat([piece.softmax(dim=0) for piece in theirs.split(lengths)])
    torch.testing.assert_close(found, expected)
    ((found * weight).sum() + (expected * weight).sum()).backward()
    torch.testing.assert_close(ours.grad, theirs.grad)
