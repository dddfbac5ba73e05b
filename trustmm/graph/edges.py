"""User-item pairs as a frozen value: sorted, without duplicates."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Edges:
    """Distinct user-item pairs, sorted by user, then item.

    Build with `Edges.of` from arrays in any order, or `Edges.from_keys`.

    Shapes: users and items (E,), int64, in [0, num_users) and [0, num_items).
    """

    users: IntArray
    items: IntArray
    num_users: int
    num_items: int

    @classmethod
    def of(cls, users: IntArray, items: IntArray, num_users: int, num_items: int) -> "Edges":
        """Sort the pairs; raise ValueError on a pair outside the shape or given twice."""
        users, items = np.asarray(users, dtype=np.int64), np.asarray(items, dtype=np.int64)
        for name, ids, bound in (("user", users, num_users), ("item", items, num_items)):
            if ids.size and (ids.min() < 0 or ids.max() >= bound):
                raise ValueError(f"{name} ids must be in [0, {bound}), got [{ids.min()}, {ids.max()}]")
        keys = np.sort(users * num_items + items)
        if np.any(keys[1:] == keys[:-1]):
            twice = int(keys[1:][keys[1:] == keys[:-1]][0])
            raise ValueError(f"user {twice // num_items} and item {twice % num_items} are paired twice")
        return cls.from_keys(keys, num_users, num_items)

    @classmethod
    def from_keys(cls, keys: IntArray, num_users: int, num_items: int) -> "Edges":
        """Pairs from sorted distinct keys ``user * num_items + item``."""
        return cls(*np.divmod(keys, num_items), num_users, num_items)

    def __len__(self) -> int:
        return len(self.users)

    @cached_property
    def keys(self) -> IntArray:
        """The pairs as sorted integers ``user * num_items + item``, shape (E,)."""
        return self.users * self.num_items + self.items

    @cached_property
    def user_degree(self) -> IntArray:
        """Number of pairs of each user, shape (U,)."""
        return np.bincount(self.users, minlength=self.num_users)

    @cached_property
    def item_degree(self) -> IntArray:
        """Number of pairs of each item, shape (I,)."""
        return np.bincount(self.items, minlength=self.num_items)

    @cached_property
    def user_offsets(self) -> IntArray:
        """Where each user's pairs start, shape (U + 1,)."""
        return np.concatenate([[0], np.cumsum(self.user_degree)])

    def __contains__(self, pair: tuple[int, int]) -> bool:
        return bool(self.contains(np.array([pair[0] * self.num_items + pair[1]]))[0])

    def contains(self, keys: IntArray) -> NDArray[np.bool_]:
        """Which of the keys ``user * num_items + item`` are pairs here, shape of `keys`."""
        if not len(self):
            return np.zeros(np.shape(keys), dtype=bool)
        position = np.minimum(np.searchsorted(self.keys, keys), len(self) - 1)
        return self.keys[position] == keys

    def union(self, other: "Edges") -> "Edges":
        """Pairs in either set."""
        return Edges.from_keys(np.union1d(self.keys, other.keys), self.num_users, self.num_items)

    def without(self, others: "Edges") -> "Edges":
        """Pairs that are not in the other set."""
        return Edges.from_keys(self.keys[~others.contains(self.keys)], self.num_users, self.num_items)

    def subset(self, chosen: IntArray) -> "Edges":
        """The pairs at these places, which ascend."""
        return Edges.from_keys(self.keys[chosen], self.num_users, self.num_items)

    def messages(self) -> tuple[IntArray, IntArray, NDArray[np.float32]]:
        """What carries messages: rows, columns and weights (2 E,) over the U + I nodes, users first; all weights 1."""
        users, items = self.users, self.items + self.num_users
        rows, columns = np.concatenate([users, items]), np.concatenate([items, users])
        return rows, columns, np.ones(len(rows), dtype=np.float32)

    def same_as(self, other: "Edges") -> bool:
        """Whether both hold the same pairs over the same users and items."""
        shape, other_shape = (self.num_users, self.num_items), (other.num_users, other.num_items)
        return self is other or (shape == other_shape and np.array_equal(self.keys, other.keys))
