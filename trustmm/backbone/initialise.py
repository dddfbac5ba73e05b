"""Initial weights drawn from a NumPy stream, so that CPU and GPU start alike."""

import math

import numpy as np
import torch
from torch import Tensor, nn


def xavier_uniform(shape: tuple[int, int], rng: np.random.Generator) -> Tensor:
    """Uniform on +-sqrt(6 / (rows + columns)) (Glorot & Bengio, AISTATS 2010), float32."""
    return _uniform(shape, math.sqrt(6 / sum(shape)), rng)


def xavier_normal(shape: tuple[int, int], rng: np.random.Generator) -> Tensor:
    """Normal with standard deviation sqrt(2 / (rows + columns)), float32."""
    return torch.from_numpy(rng.standard_normal(shape, dtype=np.float32) * np.float32(math.sqrt(2 / sum(shape))))


def linear(num_inputs: int, num_outputs: int, rng: np.random.Generator, *, bias: bool = True) -> nn.Linear:
    """A linear layer with PyTorch's default distribution, uniform on +-1/sqrt(inputs), drawn from `rng`."""
    layer = nn.utils.skip_init(nn.Linear, num_inputs, num_outputs, bias=bias)
    bound = 1 / math.sqrt(num_inputs)
    for parameter in layer.parameters():
        parameter.data = _uniform(tuple(parameter.shape), bound, rng)
    return layer


def _uniform(shape: tuple[int, ...], bound: float, rng: np.random.Generator) -> Tensor:
    return torch.from_numpy((rng.random(shape, dtype=np.float32) * 2 - 1) * np.float32(bound))
