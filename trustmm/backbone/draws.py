"""What a training step draws: keep-masks of dropout and noise, from one CPU stream."""

import numpy as np
import torch
from torch import Tensor


class Draws:
    """Random numbers of one epoch, one after the other from one stream.

    Tensors are float32 on the CPU, whatever device the model is on, so that a job draws alike on CPU and GPU. The
    names say what is drawn and have no influence on it: a test hands in draws of its own by name.

    Args:
        rng: the epoch's stream.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng

    def keep(self, name: str, shape: tuple[int, ...], rate: float, rows: Tensor | None = None) -> Tensor:
        """1 where an entry survives a dropout, which it does with probability 1 - rate, else 0; not scaled.

        Args:
            name: of the mask.
            shape: of the mask.
            rate: share that is dropped, in [0, 1].
            rows: (shape[0],) which distinct rows of a whole table's mask are wanted; None for all of them.
        """
        return torch.from_numpy((self.rng.random(shape, dtype=np.float32) >= np.float32(rate)).astype(np.float32))

    def normal(self, name: str, shape: tuple[int, ...], rows: Tensor | None = None) -> Tensor:
        """Standard normal noise; `rows` as in `keep`."""
        return torch.from_numpy(self.rng.standard_normal(shape, dtype=np.float32))

    def gumbel(self, name: str, shape: tuple[int, ...]) -> Tensor:
        """Standard Gumbel noise, finite."""
        return torch.from_numpy(self.rng.gumbel(size=shape)).float()

    def uniform(self, name: str) -> float:
        """A number in [0, 1)."""
        return self.rng.random()
