"""Exact ranks of held-out items among all items, in blocks, for several masks in one pass.

An item's rank is the number of items that score higher (equal scores: smaller index first), so counting replaces
sorting, and a masked training item is subtracted rather than written into the scores: one product serves all masks.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from trustmm.graph.edges import Edges, IntArray

LANE = 8 * 255
"""Flags per chunk when eight one-byte counters are added as one 64-bit integer: at most 255 each.

Clever on purpose: 256 users with 18,357 items take 8 ms on one core; 28 ms with ``(scores > own).sum(1)``, which
the tests hold it against.
"""


class Scorer(Protocol):
    """Scores of all pairs, asked for by blocks of users: there is never a users x items matrix."""

    @property
    def num_items(self) -> int:
        """I."""

    def scores(self, users: Tensor) -> Tensor:
        """Scores (B, I) of users (B,) for all items, float32."""

    def largest(self) -> Tensor:
        """A bound on the size of a score, a scalar; NaN or infinite if a score may be."""


@dataclass(frozen=True, eq=False)
class _Block:
    """Users with similar numbers of held-out items, most first, so that those with more than j are a prefix."""

    users: Tensor
    rounds: list[tuple[Tensor, Tensor]]
    """For the j-th held-out item of the first n users: the items (n,) and the places of the pairs in `held_out`."""
    limit: Tensor
    """Count of higher items from which a pair is beyond the depth under every mask, (B,)."""
    masked: dict[str, tuple[Tensor, Tensor, list[int]]]
    """Per mask: row of the user and item of every masked pair, in order of rows, and how many each round needs."""


class Ranker:
    """Ranks of the pairs in `held_out`, reusable over epochs.

    Args:
        held_out: pairs to rank.
        masks: by name, the pairs that are not recommended, usually the training positives.
        depth: ranks below it are exact; from it on they are only known to be at least `depth`.
        batch_size: users scored at a time.
        device: where the scores are computed.
    """

    def __init__(
        self, held_out: Edges, masks: Mapping[str, Edges], *, depth: int, batch_size: int, device: torch.device
    ) -> None:
        self.held_out, self.depth, self.device = held_out, depth, device
        self.masks, self.alias = _distinct(masks)
        self.hidden = {name: mask.contains(held_out.keys) for name, mask in self.masks.items()}
        self.blocks = [self._block(users) for users in _user_blocks(held_out, batch_size)]

    @torch.no_grad()
    def ranks(self, scorer: Scorer) -> dict[str, IntArray]:
        """For each mask the rank from 0 of every held-out pair, (E,), in the order of `held_out`.

        A pair that the mask itself hides has rank max(I, depth): it is never recommended.

        Args:
            scorer: asked once for each block of users.
        """
        ranks = {name: torch.zeros(len(self.held_out), dtype=torch.int64, device=self.device) for name in self.masks}
        counter = _Counter(max((len(block.users) for block in self.blocks), default=0), scorer.num_items, self.device)
        for block in self.blocks:
            scores_BI = counter.block = scorer.scores(block.users)
            masked = {name: (scores_BI[rows, items], rows, items) for name, (rows, items, _) in block.masked.items()}
            for turn, (items, places) in enumerate(block.rounds):
                own, higher = counter.higher(items, block.limit[: len(items)])
                for name, columns in masked.items():
                    scores, rows, others = (column[: block.masked[name][2][turn]] for column in columns)
                    outranked = rows[_precedes(scores, others, own[rows], items[rows])]
                    ranks[name][places] = higher.index_add(0, outranked, torch.full_like(outranked, -1))
        result = {name: total.cpu().numpy() for name, total in ranks.items()}
        for name, hidden in self.hidden.items():
            result[name][hidden] = max(scorer.num_items, self.depth)
        return {name: result[source] for name, source in self.alias.items()}

    def _block(self, users: IntArray) -> _Block:
        counts = self.held_out.user_degree[users]
        rounds = []
        for turn in range(counts.max()):
            places = self.held_out.user_offsets[users[counts > turn]] + turn
            rounds.append((self._send(self.held_out.items[places]), self._send(places)))
        hidden = np.max([mask.user_degree[users] for mask in self.masks.values()], axis=0)
        masked = {name: self._masked(users, mask) for name, mask in self.masks.items()}
        return _Block(self._send(users), rounds, self._send(hidden + self.depth), masked)

    def _masked(self, users: IntArray, mask: Edges) -> tuple[Tensor, Tensor, list[int]]:
        lengths, counts = mask.user_degree[users], self.held_out.user_degree[users]
        entries = concatenated_ranges(mask.user_offsets[users], lengths)
        needed = [int(lengths[counts > turn].sum()) for turn in range(counts.max())]
        return self._send(np.repeat(np.arange(len(users)), lengths)), self._send(mask.items[entries]), needed

    def _send(self, array: IntArray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self.device)


class _Counter:
    """Counts, row by row of a block of users, how many items outrank a given one; flags are reused."""

    def __init__(self, num_rows: int, num_items: int, device: torch.device) -> None:
        chunks = -(-num_items // LANE)
        self.num_items = num_items
        self.block = torch.empty(0, num_items, device=device)
        """Scores of the block's users, (B, I)."""
        self.flags = torch.zeros(num_rows, chunks * LANE, dtype=torch.bool, device=device)
        self.lanes = self.flags.view(torch.int64).view(num_rows, chunks, LANE // 8)
        self.order = torch.arange(num_items, device=device)

    def higher(self, items: Tensor, limit: Tensor) -> tuple[Tensor, Tensor]:
        """Score of item ``items[b]`` in row b, and how many outrank it, for the first rows, (n,) each.

        Ties are settled where the count is low.

        Args:
            items: (n,) one item for each of the first n rows.
            limit: (n,) from this count on, equal scores are left out: the rank is beyond every cutoff anyway.
        """
        rows = len(items)
        own_B1 = self.block[:rows].gather(1, items[:, None])
        torch.gt(self.block[:rows], own_B1, out=self.flags[:rows, : self.num_items])
        higher = self.lanes[:rows].sum(2).view(torch.uint8).sum(1)
        for row in (higher < limit).nonzero()[:, 0].split(64):
            equal = self.block[row] == own_B1[row]
            higher[row] += (equal & (self.order < items[row, None])).sum(1)
        return own_B1[:, 0], higher


def concatenated_ranges(starts: IntArray, lengths: IntArray) -> IntArray:
    """``start, start + 1, ...`` of each length, one after the other."""
    ends = np.cumsum(lengths)
    return np.repeat(starts - (ends - lengths), lengths) + np.arange(ends[-1] if len(ends) else 0)


def _precedes(scores: Tensor, items: Tensor, own_scores: Tensor, own_items: Tensor) -> Tensor:
    return (scores > own_scores) | ((scores == own_scores) & (items < own_items))


def _user_blocks(held_out: Edges, batch_size: int) -> Iterator[IntArray]:
    degree = held_out.user_degree
    users = np.argsort(-degree, kind="stable")[: np.count_nonzero(degree)]
    for start in range(0, len(users), batch_size):
        yield users[start : start + batch_size]


def _distinct(masks: Mapping[str, Edges]) -> tuple[dict[str, Edges], dict[str, str]]:
    """Masks without repetition, and for every name the one that stands for it."""
    kept: dict[str, Edges] = {}
    alias: dict[str, str] = {}
    for name, mask in masks.items():
        alias[name] = next((other for other, same in kept.items() if mask.same_as(same)), name)
        kept.setdefault(alias[name], mask)
    return kept, alias
