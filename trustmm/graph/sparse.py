"""Sparse matrices with fast products in both directions: constant ones, and ones whose values are learned.

Measured on 2 cores, Sports' 437k entries times a width of 64: a bag of rows (`embedding_bag`) takes 4 ms where the
CSR product of torch takes 10-17 ms; `benchmarks/` repeats the comparison. On CUDA a bag is summed by one thread in a
fixed order, while the CSR product adds in whatever order its threads end.
"""

import warnings
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

BLOCK_ENTRIES = 1 << 17
"""Entries whose two dense rows are gathered at a time (32 MiB each at a width of 64, float32)."""


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
        self.shape, self.symmetric = shape, symmetric
        rows, columns, values = _coalesce(rows, columns, values, shape[1])
        for name, buffer in (("offsets", _offsets(rows, shape[0])), ("columns", columns), ("values", values)):
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
        """The (N, M) transpose, stored once; it has no transpose of its own, so it is not differentiable."""
        if self.symmetric:
            return self
        assert self.transposed is not None, "a stored transpose has no transpose: use the matrix itself"
        return self.transposed

    def multiply(self, dense: Tensor) -> Tensor:
        """The product without a gradient."""
        return _sum_bags(dense, self.columns, self.offsets, self.values)

    def multiply_rows(self, dense: Tensor, index: Tensor) -> Tensor:
        """Rows `index` (B,) of the product, (B, D), without a gradient.

        Only these are computed, unless they hold more than a fifth of the entries.
        """
        distinct, place = torch.unique(index, return_inverse=True)
        held = int((self.offsets[distinct + 1] - self.offsets[distinct]).sum())
        if 5 * held > len(self.columns):  # picking so many entries costs more than the whole product
            return self.multiply(dense).index_select(0, index)
        bags, columns, values = self.rows_at(distinct)
        return _sum_bags(dense, columns, bags, values).index_select(0, place)

    def rows_at(self, index: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Rows `index` (B,) themselves: where each starts (B + 1,), and the columns and values of their entries."""
        starts, lengths = self.offsets[index], self.offsets[index + 1] - self.offsets[index]
        bags = torch.zeros(len(index) + 1, dtype=torch.int64, device=index.device)
        torch.cumsum(lengths, 0, out=bags[1:])
        entries = torch.repeat_interleave(starts - bags[:-1], lengths)
        entries += torch.arange(len(entries), device=entries.device)
        return bags, self.columns.index_select(0, entries), self.values.index_select(0, entries)

    def row_index(self) -> Tensor:
        """The row of every stored entry, (E,), in the order of `columns` and `values`."""
        lengths = self.offsets[1:] - self.offsets[:-1]
        return torch.repeat_interleave(torch.arange(self.shape[0], device=lengths.device), lengths)

    def to_dense(self) -> Tensor:
        """The dense (M, N) matrix; for small examples and tests."""
        dense = self.values.new_zeros(self.shape)
        dense[self.row_index(), self.columns] = self.values
        return dense


class SparseMatrices(nn.ModuleDict):
    """Constant matrices by name."""

    def __getitem__(self, key: str) -> SparseMatrix:
        """The matrix of a name."""
        matrix = super().__getitem__(key)
        assert isinstance(matrix, SparseMatrix)
        return matrix


def _init_transposed(
    matrix: SparseMatrix, rows: Tensor, columns: Tensor, values: Tensor, shape: tuple[int, int]
) -> None:
    SparseMatrix.__init__(matrix, columns, rows, values, (shape[1], shape[0]), symmetric=True)
    matrix.symmetric = False


def _offsets(rows: Tensor, num_rows: int) -> Tensor:
    """Where the entries of each row start, (num_rows + 1,), among entries in order of rows."""
    offsets = torch.zeros(num_rows + 1, dtype=torch.int64, device=rows.device)
    torch.cumsum(torch.bincount(rows, minlength=num_rows), 0, out=offsets[1:])
    return offsets


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
        return matrix.multiply(dense.detach())

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return ctx.matrix.transpose.multiply(gradient.contiguous()), None


class LearnedMatrix:
    """A sparse (M, N) matrix differentiable in its values and in the dense factor, for one forward pass.

    Args:
        rows, columns: (E,) int64 positions; entries given twice are added up.
        values: (E,) floating point, with or without a gradient.
        shape: (M, N).
    """

    def __init__(self, rows: Tensor, columns: Tensor, values: Tensor, shape: tuple[int, int]) -> None:
        self.rows, self.columns, self.values = rows, columns, values
        self.constant = SparseMatrix(rows, columns, values.detach(), shape)
        """The same matrix without a gradient in its values."""

    def __matmul__(self, dense: Tensor) -> Tensor:
        """The product (M, D) with a dense (N, D)."""
        return _LearnedProduct.apply(self.values, dense, self)


class _LearnedProduct(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, dense: Tensor, matrix: LearnedMatrix) -> Tensor:
        ctx.matrix = matrix
        ctx.save_for_backward(dense)
        return matrix.constant.multiply(dense.detach())

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        (dense,) = ctx.saved_tensors
        matrix, gradient = ctx.matrix, gradient.contiguous()
        by_value = _inner_products(gradient, dense, matrix.rows, matrix.columns)
        return by_value, matrix.constant.transpose.multiply(gradient), None


def power_product(matrix: SparseMatrix | LearnedMatrix, dense: Tensor, power: int) -> Tensor:
    """G^n X of a square matrix G and a dense X (N, D), n products one after the other."""
    for _ in range(power):
        dense = matrix @ dense
    return dense


def inner_products(left: Tensor, right: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Entries (rows, columns), (E,) each, of left @ right.T, differentiable; memory O(E), never the whole product.

    Args:
        left: (M, D).
        right: (N, D).
        rows: (E,) int64, index into `left`.
        columns: (E,) int64, index into `right`.
    """
    return _InnerProducts.apply(left, right, rows, columns)


class _InnerProducts(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, left: Tensor, right: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        ctx.save_for_backward(left, right, rows, columns)
        return _inner_products(left, right, rows, columns)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None, None]:
        left, right, rows, columns = ctx.saved_tensors
        matrix = SparseMatrix(rows, columns, gradient, (len(left), len(right)))
        return matrix.multiply(right), matrix.transpose.multiply(left), None, None


class SparsePattern(nn.Module):
    """Where a (M, N) matrix has entries: sorted once, for values that change with every batch.

    Args:
        rows, columns: (E,) int64 positions, each given once.
        shape: (M, N).
    """

    offsets: Tensor
    rows: Tensor
    columns: Tensor
    turn: Tensor
    turned_offsets: Tensor
    turned_columns: Tensor

    def __init__(self, rows: Tensor, columns: Tensor, shape: tuple[int, int]) -> None:
        super().__init__()
        order = torch.argsort(rows * shape[1] + columns)
        rows, columns = rows[order], columns[order]
        turn = torch.argsort(columns, stable=True)
        buffers = {"rows": rows, "columns": columns, "turn": turn, "turned_columns": rows[turn]}
        buffers |= {"offsets": _offsets(rows, shape[0]), "turned_offsets": _offsets(columns, shape[1])}
        for name, buffer in buffers.items():
            self.register_buffer(name, buffer, persistent=False)

    def product(self, values: Tensor, dense: Tensor) -> Tensor:
        """The product (M, D) of the matrix with these values (E,) and a dense (N, D), differentiable in both."""
        return _PatternProduct.apply(values, dense, self)

    def inner_products(self, left: Tensor, right: Tensor) -> Tensor:
        """Entries (E,) of left (M, D) @ right.T (D, N) here, differentiable in both."""
        return _PatternInnerProducts.apply(left, right, self)

    def sampled(self, left: Tensor, right: Tensor) -> Tensor:
        """`inner_products` without a gradient; on the CPU many times faster than gathering both rows of every entry."""
        if left.is_cuda:
            return _inner_products(left, right, self.rows, self.columns)
        zeros, shape = left.new_zeros(len(self.columns)), (len(left), len(right))
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta", UserWarning)
            pattern = torch.sparse_csr_tensor(self.offsets, self.columns, zeros, shape, check_invariants=False)
        return torch.sparse.sampled_addmm(pattern, left, right.T, beta=0.0).values()

    def multiply(self, values: Tensor, dense: Tensor) -> Tensor:
        """`product` without a gradient."""
        return _sum_bags(dense, self.columns, self.offsets, values)

    def multiply_transposed(self, values: Tensor, dense: Tensor) -> Tensor:
        """The transpose times a dense (M, D), without a gradient."""
        return _sum_bags(dense, self.turned_columns, self.turned_offsets, values.index_select(0, self.turn))


class _PatternProduct(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, dense: Tensor, pattern: SparsePattern) -> Tensor:
        ctx.pattern = pattern
        ctx.save_for_backward(values, dense)
        return pattern.multiply(values.detach(), dense.detach())

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor, None]:
        (values, dense), pattern = ctx.saved_tensors, ctx.pattern
        gradient = gradient.contiguous()
        by_value = pattern.sampled(gradient, dense) if ctx.needs_input_grad[0] else None
        return by_value, pattern.multiply_transposed(values, gradient), None


class _PatternInnerProducts(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, left: Tensor, right: Tensor, pattern: SparsePattern) -> Tensor:
        ctx.pattern = pattern
        ctx.save_for_backward(left, right)
        return pattern.sampled(left, right)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        (left, right), pattern = ctx.saved_tensors, ctx.pattern
        gradient = gradient.contiguous()
        return pattern.multiply(gradient, right), pattern.multiply_transposed(gradient, left), None


def _inner_products(left: Tensor, right: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    blocks = zip(rows.split(BLOCK_ENTRIES), columns.split(BLOCK_ENTRIES), strict=True)
    return torch.cat([(left[row] * right[column]).sum(dim=1) for row, column in blocks])


def symmetric_normalise(rows: Tensor, columns: Tensor, values: Tensor, num_nodes: int) -> Tensor:
    """Values of D^-1/2 A D^-1/2 with D the row sums of A on both sides, shape of `values`.

    A row whose sum is not positive counts as 0. The mask comes before the root, so gradients stay finite.

    Args:
        rows: (E,) positions in a square matrix of `num_nodes` rows.
        columns: (E,) positions.
        values: (E,) entries; differentiable.
        num_nodes: number of rows.
    """
    sums = values.new_zeros(num_nodes).index_add(0, rows, values)
    positive = sums > 0
    scale = torch.where(positive, torch.where(positive, sums, 1.0).rsqrt(), 0.0)
    return scale[rows] * values * scale[columns]


def normalised_matrix(rows: Tensor, columns: Tensor, values: Tensor, num_nodes: int) -> SparseMatrix:
    """The constant (num_nodes, num_nodes) matrix of entries scaled by `symmetric_normalise`."""
    scaled = symmetric_normalise(rows, columns, values, num_nodes)
    return SparseMatrix(rows, columns, scaled, (num_nodes, num_nodes))


def elementwise_max(matrices: Sequence[SparseMatrix]) -> SparseMatrix:
    """The largest value at each position stored in any of the matrices; a position that one lacks does not count there.

    So a negative value stays where it stands alone, and a position stored nowhere stays empty.
    """
    shape, width = matrices[0].shape, matrices[0].shape[1]
    keys = torch.cat([matrix.row_index() * width + matrix.columns for matrix in matrices])
    values = torch.cat([matrix.values for matrix in matrices])
    keys, entry = torch.unique(keys, return_inverse=True)
    largest = values.new_full((len(keys),), -torch.inf).scatter_reduce(0, entry, values, "amax")
    return SparseMatrix(torch.div(keys, width, rounding_mode="floor"), keys % width, largest, shape)
