"""Exact cosine neighbours in row blocks: never an I x I matrix in memory, ties to the smaller index."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trustmm.graph.dense import all_inner_products

BLOCK_ENTRIES = 1 << 24
"""Similarities held at a time (64 MiB of float32)."""


@dataclass(frozen=True, eq=False)
class Neighbours:
    """For each row its k most similar rows, best first.

    Shapes: index (N, k) int64; similarity (N, k) float32; a row or neighbour without content (a zero vector) has
    similarity 0 to everything and no edge: such entries are not `linked` (N, k).
    """

    index: Tensor
    similarity: Tensor
    linked: Tensor

    def entries(self) -> tuple[Tensor, Tensor, Tensor]:
        """Rows, columns and similarities of the linked entries, (E,) each, in order of rows."""
        rows = torch.arange(len(self.index), device=self.index.device)[:, None].expand_as(self.index)
        return rows[self.linked], self.index[self.linked], self.similarity[self.linked]


class NeighbourSearch(Protocol):
    """How a backbone asks for the item graph of one modality; a job passes a cached search."""

    def __call__(self, features_ID: NDArray[np.float32], *, k: int) -> Neighbours:
        """Neighbours of the rows of a feature matrix."""


def cosine_neighbours(
    features_ID: NDArray[np.float32],
    *,
    k: int,
    device: torch.device | str = "cpu",
    choosable: NDArray[np.bool_] | None = None,
) -> Neighbours:
    """Exact cosine neighbours of feature rows; a row may be its own neighbour.

    Args:
        features_ID: (I, D) features.
        k: neighbours per row, from 1 to I.
        device: where the products run.
        choosable: rows that may be chosen, (I,); the others still choose. None for all.

    Raises: ValueError if k is out of range.
    """
    allowed = None if choosable is None else torch.from_numpy(choosable).to(device)
    return unit_neighbours(unit_rows(torch.tensor(features_ID, device=device)), k=k, choosable=allowed)


def unit_neighbours(unit_ID: Tensor, *, k: int, choosable: Tensor | None = None) -> Neighbours:
    """Neighbours by inner product among rows of length 1, (I, D); a zero row has no content.

    Rows that are not `choosable` (I,) are nobody's neighbours, but have their own.
    """
    content = unit_ID.any(dim=1)
    allowed = content if choosable is None else content & choosable
    similarity, index = top_products(unit_ID, unit_ID, k, allowed=allowed)
    linked = content[:, None] & allowed[index]
    return Neighbours(index, torch.where(linked, similarity, 0.0), linked)


def unit_rows(rows_ND: Tensor) -> Tensor:
    """Rows scaled to length 1; zero rows stay zero, also in gradients."""
    length_N1 = torch.linalg.vector_norm(rows_ND, dim=1, keepdim=True)
    return rows_ND / torch.where(length_N1 > 0, length_N1, torch.inf)


def top_products(
    queries_QD: Tensor, keys_ND: Tensor, k: int, *, allowed: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """For each query the k largest inner products with the keys, best first, ties to the smaller index.

    Args:
        queries_QD: (Q, D).
        keys_ND: (N, D).
        k: from 1 to N.
        allowed: (N,) keys that may be chosen; others come last, with minus infinity.

    Returns: values and indices, (Q, k) each.

    Raises: ValueError if k is out of range.
    """
    if not 1 <= k <= len(keys_ND):
        raise ValueError(f"k must be in [1, {len(keys_ND)}], the number of items, got {k}")
    block = max(1, BLOCK_ENTRIES // len(keys_ND))
    values_QK = queries_QD.new_empty(len(queries_QD), k)
    index_QK = torch.empty_like(values_QK, dtype=torch.int64)
    for start in range(0, len(queries_QD), block):
        queries_BD = queries_QD[start : start + block]
        products_BN = all_inner_products(queries_BD, keys_ND)
        if allowed is not None:
            products_BN.masked_fill_(~allowed, -torch.inf)
        values_QK[start : start + block], index_QK[start : start + block] = top_k(products_BN, k)
        del products_BN  # the next block takes its place in memory
    return values_QK, index_QK


def top_k(scores_BN: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Like `torch.topk` along rows, but equal scores come in order of their index, also at the k-th place."""
    width = scores_BN.shape[1]
    values, index = scores_BN.topk(min(k + 1, width), dim=1)
    if k < width:
        tied = (values[:, k] == values[:, k - 1]).nonzero()[:, 0]
        values, index = values[:, :k].contiguous(), index[:, :k].contiguous()
        if len(tied):
            ordered, position = scores_BN[tied].sort(dim=1, descending=True, stable=True)
            values[tied], index[tied] = ordered[:, :k], position[:, :k]
    if bool((values[:, 1:] == values[:, :-1]).any()):
        index, order = index.sort(dim=1)
        values, best = values.gather(1, order).sort(dim=1, descending=True, stable=True)
        index = index.gather(1, best)
    return values, index
