"""Initial weights drawn from a NumPy stream, so that CPU and GPU start alike."""

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

Draw = Callable[[tuple[int, int], np.random.Generator], Tensor]
"""A matrix of a shape, from a stream."""


def xavier_uniform(shape: tuple[int, int], rng: np.random.Generator) -> Tensor:
    """Uniform on +-sqrt(6 / (rows + columns)) (Glorot & Bengio, AISTATS 2010), float32."""
    return _uniform(shape, math.sqrt(6 / sum(shape)), rng)


def xavier_normal(shape: tuple[int, int], rng: np.random.Generator) -> Tensor:
    """Normal with standard deviation sqrt(2 / (rows + columns)), float32."""
    return torch.from_numpy(rng.standard_normal(shape, dtype=np.float32) * np.float32(math.sqrt(2 / sum(shape))))


def linear(
    num_inputs: int, num_outputs: int, rng: np.random.Generator, *, bias: bool = True, weight: Draw | None = None
) -> nn.Linear:
    """A linear layer with PyTorch's default distribution, uniform on +-1/sqrt(inputs), drawn from `rng`.

    `weight` draws the weight (outputs, inputs) otherwise.
    """
    layer = nn.utils.skip_init(nn.Linear, num_inputs, num_outputs, bias=bias)
    bound = 1 / math.sqrt(num_inputs)
    shape = (num_outputs, num_inputs)
    layer.weight.data = _uniform(shape, bound, rng) if weight is None else weight(shape, rng)
    if bias:
        layer.bias.data = _uniform((num_outputs,), bound, rng)
    return layer


def _uniform(shape: tuple[int, ...], bound: float, rng: np.random.Generator) -> Tensor:
    return torch.from_numpy((rng.random(shape, dtype=np.float32) * 2 - 1) * np.float32(bound))
