"""Sparse products against dense ones, forwards and backwards."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from trustmm.graph.sparse import SparseMatrix, SparsePattern, symmetric_normalise

PROPERTY = settings(derandomize=True, deadline=None, max_examples=40, database=None)
M, N, D = 17, 29, 3


def draw(seed: int, count: int, dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, ...]:
    """Positions with duplicates and many empty rows, and values."""
    rng = np.random.default_rng(seed)
    rows, columns = rng.integers(0, M // 2, count), rng.integers(0, N, count)
    again = rng.random(count) < 0.3
    rows[again], columns[again] = rows[0] if count else 0, columns[0] if count else 0
    return torch.from_numpy(rows), torch.from_numpy(columns), torch.from_numpy(rng.standard_normal(count)).to(dtype)


def dense(rows: torch.Tensor, columns: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    return torch.zeros(M, N, dtype=values.dtype).index_put_((rows, columns), values, accumulate=True)


def factor(rows: int = N, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(9).standard_normal((rows, D))).to(dtype)


@PROPERTY
@given(seed=st.integers(0, 999), count=st.integers(0, 60))
def test_products_equal_dense_ones_with_duplicates_added_up(seed: int, count: int) -> None:
    entries = draw(seed, count)
    matrix, expected = SparseMatrix(*entries, (M, N)), dense(*entries)
    index = torch.from_numpy(np.random.default_rng(seed).integers(0, M, 11))
    assert_close(matrix.to_dense(), expected)
    assert_close(matrix @ factor(), expected @ factor())
    assert_close(matrix.multiply(factor()), expected @ factor())
    assert_close(matrix.transpose @ factor(M), expected.T @ factor(M))
    assert_close(matrix.transpose.to_dense(), expected.T)
    assert_close(matrix.multiply_rows(factor(), index), (expected @ factor())[index])


@PROPERTY
@given(seed=st.integers(0, 999), count=st.integers(0, 60))
def test_gradients_equal_dense_ones(seed: int, count: int) -> None:
    entries = draw(seed, count)
    matrix = SparseMatrix(*entries, (M, N))
    sparse, reference = factor().requires_grad_(), factor().requires_grad_()
    weight = torch.linspace(-1, 1, M * D, dtype=torch.float64).view(-1, D)
    ((matrix @ sparse) * weight).sum().backward()
    ((dense(*entries) @ reference) * weight).sum().backward()
    assert_close(sparse.grad, reference.grad)


def test_gradcheck_of_the_product() -> None:
    matrix = SparseMatrix(*draw(1, 30), (M, N))
    assert torch.autograd.gradcheck(lambda x: matrix @ x, factor().requires_grad_())


def test_stored_transpose_refuses_a_gradient_instead_of_a_wrong_one() -> None:
    """A square matrix that is not symmetric: a transpose that took itself for its transpose would go unnoticed."""
    matrix = SparseMatrix(torch.tensor([0]), torch.tensor([1]), torch.ones(1), (2, 2))
    leaf = torch.ones(2, 3, requires_grad=True)
    assert_close(matrix.transpose @ leaf, torch.tensor([[0.0] * 3, [1.0] * 3]))
    with pytest.raises(AssertionError, match="use the matrix itself"):
        (matrix.transpose @ leaf).sum().backward()


def test_gradient_through_a_transposed_view_is_right() -> None:
    entries = draw(2, 40)
    matrix = SparseMatrix(*entries, (M, N))
    leaf = factor().requires_grad_()
    (matrix @ leaf).T.contiguous().cumsum(1).sum().backward()
    reference = factor().requires_grad_()
    (dense(*entries) @ reference).T.cumsum(1).sum().backward()
    assert_close(leaf.grad, reference.grad)


def test_rows_without_entries_are_zero_and_no_rows_are_no_product() -> None:
    matrix = SparseMatrix(torch.tensor([2]), torch.tensor([1]), torch.tensor([3.0]), (4, 2))
    found = matrix @ torch.ones(2, 2)
    assert_close(found, torch.tensor([[0.0, 0], [0, 0], [3, 3], [0, 0]]))
    assert matrix.multiply_rows(torch.ones(2, 2), torch.empty(0, dtype=torch.int64)).shape == (0, 2)
    assert_close(matrix.multiply_rows(torch.ones(2, 2), torch.tensor([0, 1])), torch.zeros(2, 2))


def test_symmetric_matrix_is_its_own_transpose_and_not_stored_twice() -> None:
    symmetric = SparseMatrix(torch.tensor([0, 1]), torch.tensor([1, 0]), torch.ones(2), (2, 2), symmetric=True)
    assert symmetric.transpose is symmetric
    matrix = SparseMatrix(*draw(0, 9), (M, N))
    assert matrix.transpose is matrix.transpose
    assert sum(1 for _ in symmetric.buffers()) == 3
    assert sum(1 for _ in matrix.buffers()) == 6


def test_row_index_follows_the_order_of_the_entries() -> None:
    rows, columns, values = draw(3, 50)
    matrix = SparseMatrix(rows, columns, values, (M, N))
    keys = matrix.row_index() * N + matrix.columns
    assert_close(keys, torch.unique(rows * N + columns))


def test_entries_are_not_saved_with_a_model_and_follow_its_type() -> None:
    matrix = SparseMatrix(*draw(0, 9), (M, N))
    assert matrix.state_dict() == {}
    assert (matrix.float() @ factor(dtype=torch.float32)).dtype == torch.float32


def test_building_a_matrix_leaves_its_inputs() -> None:
    entries = draw(4, 30)
    copies = [entry.clone() for entry in entries]
    SparseMatrix(*entries, (M, N))
    for entry, copy in zip(entries, copies, strict=True):
        assert torch.equal(entry, copy)


def test_symmetric_normalise_equals_the_dense_formula() -> None:
    rng = np.random.default_rng(5)
    rows, columns = (torch.from_numpy(rng.integers(0, 7, 25)) for _ in range(2))
    values = torch.from_numpy(rng.random(25)).requires_grad_()
    full = torch.zeros(9, 9, dtype=torch.float64).index_put_((rows, columns), values.detach(), accumulate=True)
    sums = full.sum(1)
    scale = torch.where(sums > 0, sums, torch.inf) ** -0.5
    expected = scale[:, None] * full * scale

    found = symmetric_normalise(rows, columns, values, 9)

    total = torch.zeros(9, 9, dtype=torch.float64).index_put_((rows, columns), found.detach(), accumulate=True)
    assert_close(total, expected)
    assert torch.autograd.gradcheck(lambda v: symmetric_normalise(rows, columns, v, 9), values)


@pytest.mark.parametrize("entries", [[0.0, 0.0], [-1.0, -1.0], [1.0, -1.0]])
def test_rows_without_a_positive_sum_count_as_zero_with_finite_gradients(entries: list[float]) -> None:
    values = torch.tensor(entries, requires_grad=True)
    found = symmetric_normalise(torch.tensor([0, 0]), torch.tensor([0, 0]), values, 2)
    found.sum().backward()
    assert_close(found, torch.zeros(2))
    assert bool(torch.isfinite(values.grad).all())


@PROPERTY
@given(seed=st.integers(0, 999), share=st.sampled_from([0.0, 0.05, 0.4, 1.0]))
def test_products_over_a_pattern_equal_dense_ones_with_their_gradients(seed: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    places = rng.permutation(np.flatnonzero(rng.random(M * N) < share))
    rows, columns = (torch.from_numpy(part) for part in np.divmod(places, N))
    pattern = SparsePattern(rows, columns, (M, N))
    values = torch.from_numpy(rng.standard_normal(len(places)))
    dense_MN = torch.zeros(M, N, dtype=torch.float64).index_put_((pattern.rows, pattern.columns), values)
    left, right = factor(M), factor(N)
    inputs = [tensor.requires_grad_() for tensor in (values, right, left)]
    found = (pattern.product(values, right), pattern.inner_products(left, right))
    leaves = [tensor.detach().clone().requires_grad_() for tensor in inputs]
    matrix = torch.zeros(M, N, dtype=torch.float64).index_put((pattern.rows, pattern.columns), leaves[0])
    expected = (matrix @ leaves[1], (leaves[2] @ leaves[1].T)[pattern.rows, pattern.columns])
    assert_close(dense_MN, matrix.detach())
    for mine, theirs in zip(found, expected, strict=True):
        assert_close(mine, theirs)
        weight = torch.linspace(-1, 1, mine.numel(), dtype=torch.float64).view_as(mine)
        (mine * weight).sum().backward()
        (theirs * weight).sum().backward()
    for mine, theirs in zip(inputs, leaves, strict=True):
        assert_close(mine.grad, theirs.grad)
