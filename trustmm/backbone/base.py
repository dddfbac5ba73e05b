"""What the training loop and the evaluation expect of every backbone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from trustmm.backbone.draws import Draws
from trustmm.evaluation.ranking import Scorer
from trustmm.graph.dense import all_inner_products

# Shapes: U users, I items, N = U + I nodes, B triples of a batch, D embedding width.


@dataclass(frozen=True)
class Batch:
    """Training triples; each tensor (B,) int64 on the model's device."""

    users: Tensor
    positives: Tensor
    negatives: Tensor
    """Empty, (0,), for a model that uses none."""
    configured_size: int
    """The batch size that was asked for; the last batch of an epoch may be smaller."""

    def nodes(self, num_users: int) -> Tensor:
        """Users, positives and negatives, one after the other, (3 B,), as rows of a table of all nodes."""
        return torch.cat([self.users, self.positives + num_users, self.negatives + num_users])


@dataclass(frozen=True)
class Embeddings:
    """Final representations; the score of a pair is their inner product."""

    user_UD: Tensor
    item_ID: Tensor

    @classmethod
    def of_nodes(cls, node_ND: Tensor, num_users: int) -> "Embeddings":
        """The two parts of a table of all nodes."""
        return cls(node_ND[:num_users], node_ND[num_users:])

    @property
    def num_items(self) -> int:
        """I."""
        return len(self.item_ID)

    def scores(self, users: Tensor) -> Tensor:
        """Scores (B, I) of users (B,) for all items."""
        return all_inner_products(self.user_UD[users], self.item_ID)

    def largest(self) -> Tensor:
        """A bound on the size of a score, by Cauchy and Schwarz; NaN or infinite if a score may be."""
        return self.user_UD.norm(dim=1).max() * self.item_ID.norm(dim=1).max()


class Backbone(nn.Module):
    """A recommender trained on triples, or not trained at all where it has no parameters.

    It has no loop, optimiser, seed, device, file or config object. What it draws within an epoch comes from `draws`.
    """

    needs_features: ClassVar[bool] = False
    """Cannot be built without item features."""
    needs_categories: ClassVar[bool] = False
    """Cannot be built without item categories."""
    propagates: ClassVar[bool] = False
    """Sends messages over E_prop."""
    uses_negatives: ClassVar[bool] = True
    """Its loss looks at the batch's negatives; where not, none are drawn."""
    lr_decay: ClassVar[float] = 1.0
    """Published factor on the learning rate per 50 epochs; 1 is a constant rate."""
    weight_decay: ClassVar[float] = 0.0
    """Published weight of the squared weights in the optimiser."""

    draws: Draws
    """Set by the training loop for each epoch."""

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

    def scorer(self) -> Scorer:
        """What the evaluation asks for scores: the final representations, unless a model's scores are no products."""
        return self.embeddings()

    def drop(self, name: str, x: Tensor, rate: float, rows: Tensor | None = None) -> Tensor:
        """Inverted dropout, shape of x: entries become 0, those that survive are divided by 1 - rate.

        The identity in evaluation mode.

        Args:
            name: of the mask in `draws`.
            x: any shape.
            rate: share that is dropped, in [0, 1]; 0 is the identity.
            rows: (len(x),) which distinct rows of a table x holds, where it is a part of one.
        """
        if not self.training or not rate:
            return x
        keep = self.draws.keep(name, tuple(x.shape), rate, rows).to(x)
        return x * (keep if rate == 1 else keep / (1 - rate))
