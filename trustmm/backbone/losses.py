"""Loss terms that backbones share (shapes as in `base`)."""

import torch.nn.functional as F
from torch import Tensor


def bpr(user_BD: Tensor, positive_BD: Tensor, negative_BD: Tensor) -> Tensor:
    """Mean of -log sigma(<u, i> - <u, j>) (Rendle et al., UAI 2009), a scalar."""
    return -F.logsigmoid((user_BD * (positive_BD - negative_BD)).sum(dim=1)).mean()


def norm_penalty(*parts_BD: Tensor) -> Tensor:
    """Sum of the Frobenius norms (not squared) of the gathered rows over their number B, a scalar."""
    return sum((part.norm() for part in parts_BD[1:]), start=parts_BD[0].norm()) / len(parts_BD[0])
