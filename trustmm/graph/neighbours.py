"""Exact cosine neighbours in row blocks: never an I x I matrix in memory, ties to the smaller index."""

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trustmm.graph.dense import all_inner_products
from trustmm.store.digest import digest

BLOCK_ENTRIES = 1 << 24
"""Similarities held at a time (64 MiB of float32)."""
GROUP_COLUMNS = 32
"""Columns of a group in `_largest`; 16 to 64 are about as fast."""
MODERATE = 40
"""Binary exponent up to which the squares of a row, and their sum, stay well within float32."""


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


class NeighbourSearch:
    """How a backbone asks for graphs that only content determines; a job passes one that keeps what it found.

    Args:
        device: where the products run.
        choosable: items that others may choose in a modality's item graph, (I,), by the digest of its features; all,
            where it is not there.
    """

    def __init__(
        self, device: torch.device | str = "cpu", choosable: Mapping[str, NDArray[np.bool_]] = MappingProxyType({})
    ) -> None:
        self.device, self.choosable = device, choosable

    def __call__(self, features_ID: NDArray[np.float32], *, k: int) -> Neighbours:
        """Cosine neighbours of the rows of a feature matrix: the item graph of one modality."""
        allowed = self.choosable.get(digest(features_ID)) if self.choosable else None
        mask = {} if allowed is None else {"choosable": allowed}
        found = self.once(nearest, features_ID=features_ID, k=k, device=self.device, **mask)
        return Neighbours(**{name: torch.from_numpy(array) for name, array in found.items()})

    def once(self, find: Callable[..., Mapping[str, NDArray[Any]]], **content: Any) -> Mapping[str, NDArray[Any]]:
        """What a function of a module finds for content: arrays, numbers and, where it matters to speed, a device."""
        return find(**content)


def nearest(
    *,
    features_ID: NDArray[np.float32],
    k: int,
    device: torch.device | str,
    choosable: NDArray[np.bool_] | None = None,
) -> dict[str, NDArray[Any]]:
    """`cosine_neighbours` as arrays."""
    found = cosine_neighbours(features_ID, k=k, device=device, choosable=choosable)
    return {name: getattr(found, name).cpu().numpy() for name in ("index", "similarity", "linked")}


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
    group = equal_rows(features_ID)
    distinct, first = np.unique(group, return_index=True)
    if choosable is not None or 2 * len(distinct) > len(group) or not 1 <= k <= len(group):
        allowed = None if choosable is None else torch.from_numpy(choosable).to(device)
        return unit_neighbours(unit_rows(torch.tensor(features_ID, device=device)), k=k, choosable=allowed)
    found = unit_neighbours(unit_rows(torch.tensor(features_ID[first], device=device)), k=min(k, len(distinct)))
    return _expanded(found, torch.from_numpy(group).to(device), k)


def equal_rows(features_ID: NDArray[np.float32]) -> NDArray[np.int64]:
    """The number of each row's kind, (I,): rows of equal bytes are one kind, numbered as they first occur."""
    kinds: dict[bytes, int] = {}
    keys = (hashlib.blake2b(row, digest_size=16).digest() for row in np.ascontiguousarray(features_ID))
    return np.array([kinds.setdefault(key, len(kinds)) for key in keys], dtype=np.int64)


def _expanded(found: Neighbours, group_I: Tensor, k: int) -> Neighbours:
    """Neighbours of all rows from those of their distinct kinds.

    The k nearest rows are of the k nearest kinds, for a kind starts with its smallest index; of each at most k count.
    """
    order = torch.argsort(group_I, stable=True)
    size = torch.bincount(group_I)
    start = size.cumsum(0) - size
    place = torch.arange(min(k, int(size.max())), device=group_I.device)
    there = place < size[found.index][:, :, None]
    members = order[torch.where(there, start[found.index][:, :, None] + place, 0)].flatten(1)
    value = torch.where(found.linked, found.similarity, -torch.inf)[:, :, None]
    rank = torch.where(there, value, -torch.inf).flatten(1)
    by_index = torch.where(there.flatten(1), members, len(group_I)).argsort(dim=1, stable=True)
    best = rank.gather(1, by_index).argsort(dim=1, descending=True, stable=True)[:, :k]
    chosen = by_index.gather(1, best)
    members, rank = members.gather(1, chosen), rank.gather(1, chosen)
    linked = rank > -torch.inf
    return Neighbours(*(part[group_I] for part in (members, torch.where(linked, rank, 0.0), linked)))


def shrunk_nearest(
    *, features_ID: NDArray[np.float32], k: int, shrink: float, device: torch.device | str
) -> dict[str, NDArray[Any]]:
    """The k largest <x_i, x_j> / (|x_i| |x_j| + shrink) of each row i, itself included, as the arrays of `Neighbours`.

    A zero row has 0 with everything and takes part in the choice; entries of 0 are not linked.
    """
    rows_ID = torch.tensor(features_ID, device=device)
    exponent = int(
        rows_ID.abs().max().frexp().exponent.clamp(-126, 126)
    )  # another unit, so that squares stay within float32
    rows_ID, shrink = torch.ldexp(rows_ID, torch.tensor(-exponent)), math.ldexp(shrink, -2 * exponent)
    length_I = torch.linalg.vector_norm(rows_ID, dim=1)
    block, found = max(1, BLOCK_ENTRIES // len(rows_ID)), []
    for start in range(0, len(rows_ID), block):
        part = slice(start, start + block)
        scale_BI = length_I[part, None] * length_I + shrink
        scale_BI.masked_fill_(scale_BI == 0, torch.inf)
        found.append(top_k(all_inner_products(rows_ID[part], rows_ID).div_(scale_BI), k))
    similarity, index = (torch.cat(parts) for parts in zip(*found, strict=True))
    arrays = {"index": index, "similarity": similarity, "linked": similarity != 0}
    return {name: array.cpu().numpy() for name, array in arrays.items()}


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
    """Rows scaled to length 1 at any finite scale; zero rows stay zero, also in gradients."""
    rows_ND = rows_ND * _power_of_two(-_exponents(rows_ND))
    length_N1 = torch.linalg.vector_norm(rows_ND, dim=1, keepdim=True)
    return rows_ND / torch.where(length_N1 > 0, length_N1, torch.inf)


def moderate_rows(rows_ND: Tensor) -> Tensor:
    """The rows, those whose squares would leave float32 scaled by a power of 2 to a largest entry of about 1."""
    exponent_N1 = _exponents(rows_ND)
    return rows_ND * _power_of_two(torch.where(exponent_N1.abs() > MODERATE, -exponent_N1, 0))


def _exponents(rows_ND: Tensor) -> Tensor:
    """Binary exponent of each row's largest entry, (N, 1), as far as its negative is one of float32, too."""
    return rows_ND.detach().abs().amax(dim=1, keepdim=True).frexp().exponent.clamp(-126, 126)


def _power_of_two(exponent: Tensor) -> Tensor:
    return torch.ldexp(torch.ones_like(exponent, dtype=torch.float32), exponent)  # ldexp of rows has a wrong gradient


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
    values, index = _largest(scores_BN, min(k + 1, width))
    unordered = False
    if k < width:
        tied = (values[:, k] == values[:, k - 1]).nonzero()[:, 0]
        values, index = values[:, :k].contiguous(), index[:, :k].contiguous()
        if unordered := len(tied) > 0:
            values[tied], index[tied] = _first_of_equals(scores_BN[tied], values[tied, -1:], k)
    if unordered or bool((values[:, 1:] == values[:, :-1]).any()):
        index, order = index.sort(dim=1)
        values, best = values.gather(1, order).sort(dim=1, descending=True, stable=True)
        index = index.gather(1, best)
    return values, index


def _first_of_equals(scores_TN: Tensor, least_T1: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k largest of each row in order of their index, where more than k are at least the k-th, `least_T1`."""
    above_TN, equal_TN = ~(scores_TN <= least_T1), scores_TN == least_T1  # NaN is above all, as in a sort
    wanted_T1 = k - above_TN.sum(dim=1, keepdim=True)
    chosen_TN = above_TN | (equal_TN & (equal_TN.cumsum(dim=1) <= wanted_T1))
    index_TK = chosen_TN.nonzero()[:, 1].view(len(scores_TN), k)
    return scores_TN.gather(1, index_TK), index_TK


def _largest(scores_BN: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """`torch.topk` along rows, two to four times as fast where rows are long.

    Columns are dealt out to groups. The k largest are in the k groups with the largest maxima, and maxima are cheap:
    torch walks a heap over every entry (256 rows of 6,710 on one core: 4.3 ms, and 2.4 ms this way; of 63,001: 37
    and 10 ms).
    """
    rows, width = scores_BN.shape
    groups = width // GROUP_COLUMNS
    if groups < 4 * k:
        return scores_BN.topk(k, dim=1)
    dealt = groups * GROUP_COLUMNS
    best_BG = scores_BN[:, :dealt].unflatten(1, (GROUP_COLUMNS, groups)).amax(dim=1)
    chosen_BK = best_BG.topk(k, dim=1, sorted=False).indices
    steps = groups * torch.arange(GROUP_COLUMNS, device=scores_BN.device)
    rest_BR = torch.arange(dealt, width, device=scores_BN.device).expand(rows, -1)
    column_BC = torch.cat([(chosen_BK[:, None] + steps[:, None]).flatten(1), rest_BR], dim=1)
    values, place = scores_BN.gather(1, column_BC).topk(k, dim=1)
    return values, column_BC.gather(1, place)
