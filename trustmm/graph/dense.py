"""Dense products that ranking and neighbour search share."""

import torch
from torch import Tensor


def all_inner_products(left_BD: Tensor, right_ID: Tensor) -> Tensor:
    """All inner products (B, I) in float32.

    On the CPU by oneDNN's kernel where there is one, a private operation of torch's: 256 x 18,357 of width 64 take
    9 ms on one core, and 15 ms with ``left_BD @ right_ID.T``, which the tests hold it against.
    """
    if left_BD.is_cuda or left_BD.dtype != torch.float32 or not torch.backends.mkldnn.is_available():
        return left_BD @ right_ID.T
    return torch.ops.mkldnn._linear_pointwise(left_BD, right_ID, None, "none", [], "")
