"""Reductions over consecutive segments of a flat array, without atomics.

`torch_scatter.segment_csr` is used where it is installed (the extra `scatter`), torch's own otherwise; both pass the
same tests.
"""

from typing import Any

import torch
from torch import Tensor

try:
    from torch_scatter import segment_csr
except ImportError:
    segment_csr = None


def segment_sum(values: Tensor, offsets: Tensor) -> Tensor:
    """Sum of values[offsets[s]:offsets[s + 1]] for each segment s; an empty segment gives 0."""
    if segment_csr is not None:
        return segment_csr(values, offsets, reduce="sum")
    return torch.segment_reduce(values, "sum", offsets=offsets, initial=0)


def segment_max(values: Tensor, offsets: Tensor) -> Tensor:
    """Largest value of each segment; an empty segment gives minus infinity."""
    if segment_csr is not None:
        largest = segment_csr(values, offsets, reduce="max")
        return torch.where(offsets[1:] > offsets[:-1], largest, -torch.inf)
    return torch.segment_reduce(values, "max", offsets=offsets, initial=-torch.inf)


def segment_logsumexp(values: Tensor, offsets: Tensor) -> Tensor:
    """Log-sum-exp of each segment, stable for any shift; an empty segment gives minus infinity."""
    lengths = offsets[1:] - offsets[:-1]
    shift = segment_max(values, offsets)
    shift = torch.where(torch.isfinite(shift), shift, 0.0)
    shifted = values - torch.repeat_interleave(shift, lengths, output_size=len(values))
    return segment_sum(shifted.exp(), offsets).log() + shift


def segment_softmax(values: Tensor, offsets: Tensor) -> Tensor:
    """Softmax within each segment, shape of `values`, differentiable."""
    return _SegmentSoftmax.apply(values, offsets)


class _SegmentSoftmax(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, offsets: Tensor) -> Tensor:
        share = (values - _spread(segment_logsumexp(values, offsets), offsets, len(values))).exp()
        ctx.save_for_backward(share, offsets)
        return share

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        share, offsets = ctx.saved_tensors
        weighted = share * gradient
        return weighted - share * _spread(segment_sum(weighted, offsets), offsets, len(share)), None


def _spread(by_segment: Tensor, offsets: Tensor, size: int) -> Tensor:
    """The value of its segment at every place, (size,)."""
    return torch.repeat_interleave(by_segment, offsets[1:] - offsets[:-1], output_size=size)
