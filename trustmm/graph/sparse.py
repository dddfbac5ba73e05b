"""Constant sparse matrices with fast products in both directions.

Measured on 2 cores, Sports' 437k entries times a width of 64: a bag of rows (`embedding_bag`) takes 4 ms where the
CSR product of torch takes 10-17 ms; on CUDA the CSR product wins. `benchmarks/` repeats the comparison.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class SparseMatrix(nn.Module):
    """A constant (M, N) matrix in compressed rows that moves with its module and is differentiable in the dense factor.

    Args:
        rows, columns: (E,) int64 positions; entries given twice are added up.
        values: (E,) floating point.
        shape: (M, N).
        symmetric: the matrix equals its transpose, which is then not stored again.
    """

    offsets: Tensor
    columns: Tensor
    values: Tensor

    def __init__(
        self, rows: Tensor, columns: Tensor, values: Tensor, shape: tuple[int, int], *, symmetric: bool = False
    ) -> None:
        super().__init__()
        self.shape = shape
        rows, columns, values = _coalesce(rows, columns, values, shape[1])
        offsets = torch.zeros(shape[0] + 1, dtype=torch.int64, device=rows.device)
        torch.cumsum(torch.bincount(rows, minlength=shape[0]), 0, out=offsets[1:])
        for name, buffer in (("offsets", offsets), ("columns", columns), ("values", values)):
            self.register_buffer(name, buffer, persistent=False)
        self.transposed: SparseMatrix | None = None
        if not symmetric:
            self.transposed = SparseMatrix.__new__(SparseMatrix)
            _init_transposed(self.transposed, rows, columns, values, shape)

    def __matmul__(self, dense: Tensor) -> Tensor:
        """The product (M, D) with a dense (N, D), differentiable in `dense`."""
        return _Product.apply(dense, self)

    @property
    def transpose(self) -> "SparseMatrix":
        """The (N, M) transpose, stored once."""
        return self if self.transposed is None else self.transposed

    def multiply(self, dense: Tensor) -> Tensor:
        """The product without a gradient."""
        if dense.is_cuda:
            matrix = torch.sparse_csr_tensor(self.offsets, self.columns, self.values, self.shape)
            return matrix @ dense
        return _sum_bags(dense, self.columns, self.offsets, self.values)

    def multiply_rows(self, dense: Tensor, index: Tensor) -> Tensor:
        """Rows `index` (B,) of the product, (B, D), without a gradient; on the CPU only these rows are computed."""
        if dense.is_cuda:
            return self.multiply(dense)[index]
        starts, lengths = self.offsets[index], self.offsets[index + 1] - self.offsets[index]
        bags = torch.zeros(len(index) + 1, dtype=torch.int64)
        torch.cumsum(lengths, 0, out=bags[1:])
        entries = torch.repeat_interleave(starts - bags[:-1], lengths)
        entries += torch.arange(len(entries))
        return _sum_bags(dense, self.columns[entries], bags, self.values[entries])

    def rows(self, dense: Tensor, index: Tensor) -> Tensor:
        """Rows `index` (B,) of the product, differentiable in `dense`."""
        return _ProductRows.apply(dense, self, index)

    def row_index(self) -> Tensor:
        """The row of every stored entry, (E,), in the order of `columns` and `values`."""
        lengths = self.offsets[1:] - self.offsets[:-1]
        return torch.repeat_interleave(torch.arange(self.shape[0], device=lengths.device), lengths)

    def to_dense(self) -> Tensor:
        """The dense (M, N) matrix; for small examples and tests."""
        dense = self.values.new_zeros(self.shape)
        dense[self.row_index(), self.columns] = self.values
        return dense


def _init_transposed(
    matrix: SparseMatrix, rows: Tensor, columns: Tensor, values: Tensor, shape: tuple[int, int]
) -> None:
    SparseMatrix.__init__(matrix, columns, rows, values, (shape[1], shape[0]), symmetric=True)


def _coalesce(rows: Tensor, columns: Tensor, values: Tensor, width: int) -> tuple[Tensor, Tensor, Tensor]:
    keys, order = torch.sort(rows * width + columns, stable=True)
    values = values[order]
    if len(keys) and bool((keys[1:] == keys[:-1]).any()):
        keys, entry = torch.unique_consecutive(keys, return_inverse=True)
        values = values.new_zeros(len(keys)).index_add_(0, entry, values)
    return torch.div(keys, width, rounding_mode="floor"), keys % width, values


def _sum_bags(dense: Tensor, columns: Tensor, offsets: Tensor, values: Tensor) -> Tensor:
    if not len(columns):
        return dense.new_zeros(len(offsets) - 1, dense.shape[1])
    return F.embedding_bag(columns, dense, offsets, mode="sum", per_sample_weights=values, include_last_offset=True)


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, dense: Tensor, matrix: SparseMatrix) -> Tensor:
        ctx.matrix = matrix
        return matrix.multiply(dense)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return ctx.matrix.transpose.multiply(gradient.contiguous()), None


class _ProductRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, dense: Tensor, matrix: SparseMatrix, index: Tensor) -> Tensor:
        ctx.matrix = matrix
        ctx.save_for_backward(index)
        return matrix.multiply_rows(dense, index)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (index,) = ctx.saved_tensors
        scattered = gradient.new_zeros(ctx.matrix.shape[0], gradient.shape[1]).index_add_(0, index, gradient)
        return ctx.matrix.transpose.multiply(scattered), None, None


def symmetric_normalise(rows: Tensor, columns: Tensor, values: Tensor, num_nodes: int) -> Tensor:
    """Values of D^-1/2 A D^-1/2 with D the row sums of A on both sides, shape of `values`.

    A row whose sum is not positive counts as 0. The mask comes before the root, so gradients stay finite.

    Args:
        rows, columns: (E,) positions in a square matrix of `num_nodes` rows.
        values: (E,) entries; differentiable.
        num_nodes: number of rows.
    """
    sums = values.new_zeros(num_nodes).index_add(0, rows, values)
    positive = sums > 0
    scale = torch.where(positive, torch.where(positive, sums, 1.0).rsqrt(), 0.0)
    return scale[rows] * values * scale[columns]
