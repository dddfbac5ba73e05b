"""What the training loop and the evaluation expect of every backbone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from torch import Tensor, nn

# Shapes: U users, I items, N = U + I nodes, B triples of a batch, D embedding width.


@dataclass(frozen=True)
class Batch:
    """Training triples; each tensor (B,) int64 on the model's device."""

    users: Tensor
    positives: Tensor
    negatives: Tensor
    configured_size: int
    """The batch size that was asked for; the last batch of an epoch may be smaller."""


@dataclass(frozen=True)
class Embeddings:
    """Final representations; the score of a pair is their inner product."""

    user_UD: Tensor
    item_ID: Tensor


class Backbone(nn.Module):
    """A recommender trained on triples. It has no loop, optimiser, seed, device, file or config object."""

    needs_features: ClassVar[bool] = False
    """Cannot be built without item features."""
    propagates: ClassVar[bool] = False
    """Sends messages over E_prop."""
    lr_decay: ClassVar[float] = 1.0
    """Published factor on the learning rate per 50 epochs; 1 is a constant rate."""

    @classmethod
    def check_fit(cls, modalities: Sequence[str], **options: Any) -> None:
        """Raise ValueError for options that these modalities do not allow: before anything is computed."""

    def begin_epoch(self, rng: np.random.Generator) -> None:
        """Prepare what is drawn or rebuilt once an epoch."""

    def loss_terms(self, batch: Batch) -> Mapping[str, Tensor]:
        """Named scalar terms whose sum is minimised; already weighted."""
        raise NotImplementedError

    def embeddings(self) -> Embeddings:
        """Final representations of all users and items, in evaluation mode."""
        raise NotImplementedError
