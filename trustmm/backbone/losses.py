"""Loss terms that backbones share (shapes as in `base`)."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from trustmm.graph.neighbours import unit_rows

CONTRAST_ROWS = 256
"""Rows of the contrast at a time: 2 MiB of cosines in a batch of 2048."""


def bpr(user_BD: Tensor, positive_BD: Tensor, negative_BD: Tensor) -> Tensor:
    """Mean of -log sigma(<u, i> - <u, j>) (Rendle et al., UAI 2009), a scalar."""
    return -F.logsigmoid((user_BD * (positive_BD - negative_BD)).sum(dim=1)).mean()


def norm_penalty(*parts_BD: Tensor) -> Tensor:
    """Sum of the Frobenius norms (not squared) of the gathered rows over their number B, a scalar."""
    return torch.stack([_Norm.apply(part) for part in parts_BD]).sum() / len(parts_BD[0])


def square_penalty(*parts_BD: Tensor, configured_size: int) -> Tensor:
    """Sum of squares of the gathered rows over twice the configured batch size, also in a smaller batch; a scalar."""
    return torch.stack([_Norm.apply(part) for part in parts_BD]).square().sum() / (2 * configured_size)


def pair_squares(user_BD: Tensor, positive_BD: Tensor, negative_BD: Tensor) -> Tensor:
    """Mean square over both pairs of every triple: of its user with the positive, and with the negative; a scalar."""
    return torch.cat([user_BD, user_BD, positive_BD, negative_BD]).square().sum() / (2 * user_BD.numel())


def contrast(view_CD: Tensor, target_CD: Tensor, counts_C: Tensor, *, temperature: float) -> Tensor:
    """InfoNCE (van den Oord et al., 2018) by cosine: each row of a view finds its own target among the batch's.

    A node that occurs more than once in the batch is one row here and counts as often as it occurs, in the mean and in
    the denominators. A zero row has cosine 0 to all.

    Args:
        view_CD: one row for each of C distinct nodes.
        target_CD: their targets.
        counts_C: how often each occurs in the batch.
        temperature: divides the cosines.

    Returns: the mean of -log softmax over the batch, a scalar.
    """
    counts_C = counts_C.to(view_CD.dtype)
    own_C = torch.arange(len(view_CD), device=view_CD.device)
    return _Contrast.apply(unit_rows(view_CD), unit_rows(target_CD), own_C, counts_C, counts_C.log(), temperature)


def table_contrast(view_CD: Tensor, table_ND: Tensor, own_C: Tensor, counts_C: Tensor, *, temperature: float) -> Tensor:
    """InfoNCE of some rows against a whole table, by inner product: row c finds row `own_C[c]` among all N.

    Args:
        view_CD: C rows, normalised by the caller.
        table_ND: the table, normalised by the caller.
        own_C: (C,) the target of each row.
        counts_C: (C,) how often each row counts.
        temperature: divides the products.

    Returns: the sum (no mean) of -log softmax over the rows, a scalar.
    """
    counts_C, even_N = counts_C.to(view_CD.dtype), view_CD.new_zeros(len(table_ND))
    return counts_C.sum() * _Contrast.apply(view_CD, table_ND, own_C, counts_C, even_N, temperature)


class _Norm(torch.autograd.Function):
    """Frobenius norm; its gradient is one pass over the rows (that of torch's `square` is three) and 0 at 0."""

    @staticmethod
    def forward(ctx: Any, part_BD: Tensor) -> Tensor:
        norm = torch.linalg.vector_norm(part_BD)
        ctx.save_for_backward(part_BD, norm)
        return norm

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        part_BD, norm = ctx.saved_tensors
        return part_BD * (gradient / norm.clamp_min(torch.finfo(norm.dtype).tiny))


class _Contrast(torch.autograd.Function):
    """The gradient is computed with the value, a cache's worth of rows at a time: never a C x N matrix in memory.

    `own_C` says which target is whose, `log_counts_N` how often a target counts in the denominators.
    """

    @staticmethod
    def forward(
        ctx: Any,
        view_CD: Tensor,
        target_ND: Tensor,
        own_C: Tensor,
        counts_C: Tensor,
        log_counts_N: Tensor,
        temperature: float,
    ) -> Tensor:
        target_ND = target_ND / temperature
        own_CD = target_ND.index_select(0, own_C)
        product_C = (view_CD * own_CD).sum(dim=1)
        by_view, by_target_ND = [], torch.zeros_like(target_ND)
        total = view_CD.new_zeros(())
        for start in range(0, len(view_CD), CONTRAST_ROWS):
            rows = slice(start, start + CONTRAST_ROWS)
            logits_RN = torch.addmm(log_counts_N, view_CD[rows], target_ND.T)
            shift_R1 = logits_RN.amax(dim=1, keepdim=True)
            sums_R1 = logits_RN.sub_(shift_R1).exp_().sum(dim=1, keepdim=True)
            total += counts_C[rows] @ ((sums_R1.log() + shift_R1)[:, 0] - product_C[rows])
            share_RN = logits_RN.mul_(counts_C[rows, None] / sums_R1)
            by_view.append(share_RN @ target_ND)
            by_target_ND.addmm_(share_RN.T, view_CD[rows])
        size = counts_C.sum()
        by_view_CD = (torch.cat(by_view) - counts_C[:, None] * own_CD) / size
        by_target_ND.index_add_(0, own_C, counts_C[:, None] * view_CD, alpha=-1)
        ctx.save_for_backward(by_view_CD, by_target_ND.div_(temperature * size))
        return total / size

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        by_view_CD, by_target_ND = ctx.saved_tensors
        return gradient * by_view_CD, gradient * by_target_ND, None, None, None, None
