"""Step 1: a linear view of raw features in the anchors' space, trained on the pairs that agree most (Eqs. 6-8)."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from trustmm.exact import exact_share
from trustmm.graph.neighbours import moderate_rows, unit_rows
from trustmm.options.checks import Count, Positive

# Shapes: I items, B items of a batch, X raw feature width, D anchor width, F projections fitted side by side.


@dataclass(frozen=True, kw_only=True)
class ProjectionTraining:
    """How projections are fitted."""

    epochs: Count
    learning_rate: Positive
    batch_size: Count


@dataclass(frozen=True, eq=False)
class Projections:
    """F linear maps z = W x + b; weight (F, D, X), bias (F, D)."""

    weight: Tensor
    bias: Tensor

    def __call__(self, features_BX: Tensor) -> Tensor:
        """Projected rows, l2-normalised, (B, F, D); one product for all F maps.

        Rows whose squares would leave float32 are projected as if their largest entry were near 1.
        """
        count, width, _ = self.weight.shape
        projected = moderate_rows(features_BX) @ self.weight.flatten(0, 1).T + self.bias.flatten()
        return unit_rows(projected.view(-1, width)).view(len(features_BX), count, width)


def fit_projections(
    features_IX: Tensor,
    anchors_ID: Tensor,
    trained_on_IF: Tensor,
    *,
    rho: float,
    training: ProjectionTraining,
    rng: np.random.Generator,
) -> Projections:
    """Minimise 1 - <anchor, z> over the `rho` share of each mini-batch with the smallest loss.

    Args:
        features_IX: raw features.
        anchors_ID: anchors; normalised here.
        trained_on_IF: which items each of the F projections is trained on, bool.
        rho: share kept, in (0, 1]; at least one item of a batch is.
        training: epochs, learning rate, batch size.
        rng: stream for the initial weights (PyTorch's default distribution) and the order of items.
    """
    count, inputs, width = trained_on_IF.shape[1], features_IX.shape[1], anchors_ID.shape[1]
    anchors_ID, device = unit_rows(anchors_ID), features_IX.device
    bound = 1 / np.sqrt(inputs)
    weight, bias = (
        torch.from_numpy(rng.uniform(-bound, bound, shape).astype(np.float32)).to(device).requires_grad_()
        for shape in ((count, width, inputs), (count, width))
    )
    maps = Projections(weight, bias)
    keep = kept_of(rho, training.batch_size).to(device)
    optimizer = torch.optim.Adam([weight, bias], lr=training.learning_rate, fused=True)
    for _ in range(training.epochs):
        for batch in torch.from_numpy(rng.permutation(len(features_IX))).to(device).split(training.batch_size):
            rows_BX, targets_B1D = features_IX.index_select(0, batch), anchors_ID.index_select(0, batch)[:, None]
            loss_BF = 1 - (maps(rows_BX) * targets_B1D).sum(dim=2)
            optimizer.zero_grad(set_to_none=True)
            small_loss_mean(loss_BF, trained_on_IF[batch], keep).backward()
            optimizer.step()
    return Projections(weight.detach(), bias.detach())


def kept_of(rho: float, most: int) -> Tensor:
    """How many losses of 0 to `most` members are kept, (most + 1,): their `rho` share, at least 1."""
    return torch.tensor([max(1, exact_share(rho, members)) for members in range(most + 1)])


def small_loss_mean(loss_BF: Tensor, member_BF: Tensor, keep: Tensor) -> Tensor:
    """Sum over projections of the mean of the smallest losses of their members (Eq. 8), a scalar.

    Args:
        loss_BF: of every item and projection.
        member_BF: the items that count.
        keep: how many losses are kept, by the number of members, see `kept_of`.
    """
    hidden_BF = loss_BF.detach().masked_fill(~member_BF, torch.inf)
    place_BF = hidden_BF.argsort(dim=0, stable=True).argsort(dim=0)
    keep_F = keep[member_BF.sum(dim=0)]
    kept_BF = (place_BF < keep_F) & member_BF
    return ((loss_BF * kept_BF).sum(dim=0) / keep_F).sum()
