"""Rows of linear maps of a table, with gradients that meet in one buffer.

A batch needs few rows of what it propagates, and its gradient starts at these rows only. autograd would fill a table of
zeros for every use of the table and add the tables up; here every map adds its part to the same one.
"""

from typing import Any, Protocol

import torch
from torch import Tensor, nn

from trustmm.graph.sparse import SparseMatrix


class RowMap(Protocol):
    """A linear map from a table (N, D) to rows (B, D)."""

    def rows(self, table_ND: Tensor) -> Tensor:
        """The rows (B, D)."""

    def transposed(self, gradient_BD: Tensor, num_rows: int, total_ND: Tensor | None) -> Tensor:
        """The transposed map of the gradient, (N, D), plus `total_ND`, which may be overwritten; None counts as 0."""


class Take:
    """Rows `index` (B,) of the table itself."""

    def __init__(self, index: Tensor) -> None:
        self.index = index

    def rows(self, table_ND: Tensor) -> Tensor:
        """The rows (B, D)."""
        return table_ND.index_select(0, self.index)

    def transposed(self, gradient_BD: Tensor, num_rows: int, total_ND: Tensor | None) -> Tensor:
        """The gradient, each row at its place."""
        if total_ND is None:
            total_ND = gradient_BD.new_zeros(num_rows, gradient_BD.shape[1])
        return total_ND.index_add_(0, self.index, gradient_BD)


class LayerMeanRows:
    """Rows `index` (B,) of `bipartite.layer_mean`: the last layer is computed at these nodes only.

    Args:
        operator: S, (N, N).
        num_layers: L.
        index: the rows.
    """

    def __init__(self, operator: SparseMatrix, num_layers: int, index: Tensor) -> None:
        self.operator, self.num_layers, self.index = operator, num_layers, index

    def rows(self, table_ND: Tensor) -> Tensor:
        """The rows (B, D)."""
        layer_ND, total_BD = table_ND, table_ND.index_select(0, self.index)
        for _ in range(self.num_layers - 1):
            layer_ND = self.operator.multiply(layer_ND)
            total_BD += layer_ND.index_select(0, self.index)
        if self.num_layers:
            total_BD += self.operator.multiply_rows(layer_ND, self.index)
        return total_BD.div_(self.num_layers + 1)

    def transposed(self, gradient_BD: Tensor, num_rows: int, total_ND: Tensor | None) -> Tensor:
        """Horner's rule: with G the scattered gradient, h = S^T h + G, L times.

        Clever on purpose: it keeps no layer and needs L products, as going forward does. 4,096 rows of two layers over
        TikTok's graph, forward and back, take 11 ms on one core, and 14 ms by autograd over the whole layers, which the
        tests hold it against.
        """
        start, part_BD = Take(self.index), gradient_BD / (self.num_layers + 1)
        if not self.num_layers:
            return start.transposed(part_BD, num_rows, total_ND)
        sum_ND = start.transposed(part_BD, num_rows, None)
        for _ in range(self.num_layers):
            sum_ND = start.transposed(part_BD, num_rows, self.operator.transpose.multiply(sum_ND))
        return sum_ND if total_ND is None else sum_ND.add_(total_ND)


class ProductRows:
    """Rows `index` (B,) of G^n times the table, or its rows from `first` on; the last product makes these rows only.

    Args:
        matrix: G.
        index: the rows.
        depth: n, at least 1.
        first: row of the table where the factor starts.
    """

    def __init__(self, matrix: SparseMatrix, index: Tensor, *, depth: int = 1, first: int = 0) -> None:
        self.matrix, self.index, self.depth, self.first = matrix, index, depth, first

    def rows(self, table_ND: Tensor) -> Tensor:
        """The rows (B, D)."""
        layer_ID = table_ND[self.first :]
        for _ in range(self.depth - 1):
            layer_ID = self.matrix.multiply(layer_ID)
        return self.matrix.multiply_rows(layer_ID, self.index)

    def transposed(self, gradient_BD: Tensor, num_rows: int, total_ND: Tensor | None) -> Tensor:
        """G^T n times, from the scattered gradient."""
        sum_ID = Take(self.index).transposed(gradient_BD, self.matrix.shape[0], None)
        for _ in range(self.depth):
            sum_ID = self.matrix.transpose.multiply(sum_ID)
        if total_ND is None and not self.first:
            return sum_ID
        if total_ND is None:
            total_ND = gradient_BD.new_zeros(num_rows, gradient_BD.shape[1])
        total_ND[self.first :] += sum_ID
        return total_ND


def map_rows(table_ND: Tensor, *maps: RowMap) -> tuple[Tensor, ...]:
    """The rows of every map, (B, D) each, differentiable in the table. The map that fills a table should come first."""
    return _MapRows.apply(table_ND, maps)


class Reader(Protocol):
    """Whoever knows what the rows of a table are by now."""

    def rows(self, index: Tensor) -> Tensor:
        """Rows `index` (B,), (B, D), whose gradient the reader finds by itself."""

    def settle(self) -> None:
        """Make all rows of the table what they are by now."""


class RowTable(nn.Parameter):
    """A parameter (N, D) that training reads by `take` alone: its optimiser may leave other rows for later."""

    reader: Reader | None = None


def take(table_ND: Tensor, index: Tensor) -> Tensor:
    """Rows `index` (B,) of a table, (B, D); several times faster than indexing, in both directions."""
    if isinstance(table_ND, RowTable) and table_ND.reader is not None and torch.is_grad_enabled():
        return table_ND.reader.rows(index)
    return map_rows(table_ND, Take(index))[0]


class _MapRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, table_ND: Tensor, maps: tuple[RowMap, ...]) -> tuple[Tensor, ...]:
        ctx.maps, ctx.num_rows = maps, len(table_ND)
        table_ND = table_ND.detach()
        return tuple(part.rows(table_ND) for part in maps)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, None]:
        total_ND = None
        for part, gradient_BD in zip(ctx.maps, gradients, strict=True):
            total_ND = part.transposed(gradient_BD.contiguous(), ctx.num_rows, total_ND)
        return total_ND, None
