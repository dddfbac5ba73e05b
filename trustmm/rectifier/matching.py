"""Steps 2 and 3: a sparse affinity of anchors and projected features, scaled to a soft matching (Eqs. 9-12)."""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor

from trustmm.graph.neighbours import top_products, unit_rows
from trustmm.graph.segment import segment_logsumexp, segment_sum
from trustmm.graph.sparse import BLOCK_ENTRIES, SparseMatrix

Support = Literal["paper", "symmetric"]


@dataclass(frozen=True, eq=False)
class Affinity:
    """Entries of log A = s / tau in order of rows, then columns (Eq. 10).

    Shapes: rows, columns, log_values (E,), float64; square over `num_items`.
    """

    rows: Tensor
    columns: Tensor
    log_values: Tensor
    num_items: int

    @cached_property
    def row_offsets(self) -> Tensor:
        """Where each row starts, (I + 1,)."""
        return _offsets(self.rows, self.num_items)

    @cached_property
    def column_offsets(self) -> Tensor:
        """Where each column starts in `by_column`, (I + 1,)."""
        return _offsets(self.columns, self.num_items)

    @cached_property
    def by_column(self) -> Tensor:
        """Order of the entries by column, (E,)."""
        return torch.argsort(self.columns, stable=True)


@dataclass(frozen=True, eq=False)
class Matching:
    """A plan P on the support of an affinity, and how far it is from doubly stochastic."""

    affinity: Affinity
    log_plan: Tensor
    """log P of every entry, (E,)."""
    num_sweeps: int

    def row_mass(self) -> Tensor:
        """Row sums of P, (I,)."""
        return segment_sum(self.log_plan.exp(), self.affinity.row_offsets)

    def column_mass(self) -> Tensor:
        """Column sums of P, (I,): how much all anchors together draw from an item's content."""
        return segment_sum(self.log_plan.exp()[self.affinity.by_column], self.affinity.column_offsets)

    def diagonal(self) -> Tensor:
        """P_ii, (I,): how much an item keeps of its own content."""
        own = self.affinity.rows == self.affinity.columns
        return self.log_plan[own].exp()

    def matrix(self) -> SparseMatrix:
        """P in float32, (I, I)."""
        shape = (self.affinity.num_items, self.affinity.num_items)
        return SparseMatrix(self.affinity.rows, self.affinity.columns, self.log_plan.exp().float(), shape)


def sparse_affinity(anchors_ID: Tensor, projected_ID: Tensor, *, k: int, tau: float, support: Support) -> Affinity:
    """Cosine affinity of each anchor with its k most similar projected features and its own (Eqs. 9-10).

    Args:
        anchors_ID: anchors; normalised here, zero rows have similarity 0.
        projected_ID: projected features, likewise.
        k: from 1 to I; ties go to the smaller index.
        tau: temperature.
        support: `paper` keeps the rows' choices and the diagonal; `symmetric` adds (j, i) for every (i, j): only then
            is the pattern sure to scale to doubly stochastic.
    """
    anchors_ID, projected_ID = unit_rows(anchors_ID), unit_rows(projected_ID)
    num_items = len(anchors_ID)
    _, columns = top_products(anchors_ID, projected_ID, k)
    items = torch.arange(num_items, device=columns.device)
    rows = items[:, None].expand_as(columns)
    keys = [rows * num_items + columns, (items * (num_items + 1))[:, None]]
    if support == "symmetric":
        keys.append(columns * num_items + rows)
    distinct = torch.unique(torch.cat([key.flatten() for key in keys]))
    rows, columns = torch.div(distinct, num_items, rounding_mode="floor"), distinct % num_items
    blocks = zip(rows.split(BLOCK_ENTRIES), columns.split(BLOCK_ENTRIES), strict=True)
    similarity = torch.cat(
        [(anchors_ID[row].double() * projected_ID[column].double()).sum(dim=1) for row, column in blocks]
    )
    return Affinity(rows, columns, similarity / tau, num_items)


def sinkhorn(affinity: Affinity, *, num_sweeps: int, eps: float) -> Matching:
    """Scale A to P = diag(u) A diag(v) by sweeps of u = 1/(A v + eps), v = 1/(A^T u + eps) from v = 1 (Eqs. 11-12).

    In the log domain and float64, sound for temperatures from 0.01 up; eps is relative to the unshifted A.
    """
    log_eps = torch.tensor(eps, dtype=torch.float64, device=affinity.log_values.device).log()
    by_column = affinity.by_column
    rows_by_column, values_by_column = affinity.rows[by_column], affinity.log_values[by_column]
    log_u = log_v = affinity.log_values.new_zeros(affinity.num_items)
    for _ in range(num_sweeps):
        towards_rows = segment_logsumexp(affinity.log_values + log_v[affinity.columns], affinity.row_offsets)
        log_u = -torch.logaddexp(towards_rows, log_eps)
        towards_columns = segment_logsumexp(values_by_column + log_u[rows_by_column], affinity.column_offsets)
        log_v = -torch.logaddexp(towards_columns, log_eps)
    return Matching(affinity, affinity.log_values + log_u[affinity.rows] + log_v[affinity.columns], num_sweeps)


def row_normalised(affinity: Affinity) -> Matching:
    """A over its row sums: the paper's ablation without Sinkhorn."""
    log_sums = segment_logsumexp(affinity.log_values, affinity.row_offsets)
    return Matching(affinity, affinity.log_values - log_sums[affinity.rows], 0)


def _offsets(sorted_or_not: Tensor, num_items: int) -> Tensor:
    counts = torch.bincount(sorted_or_not, minlength=num_items)
    return torch.cat([counts.new_zeros(1), counts.cumsum(0)])
