"""Embedded data with a planted taste: the answer is known, any size can be had, nothing is downloaded."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from trustmm.dataset.data import Dataset
from trustmm.graph.edges import Edges, IntArray
from trustmm.options.checks import Count, NonNegative, Seed, Share, Within
from trustmm.seeding import stream

# Shapes: U users, I items, T planted taste dimensions.
BLOCK = 1024
"""Users drawn at a time."""


@dataclass(frozen=True, kw_only=True)
class SyntheticDataset:
    """Users choose items by taste and popularity; features are noisy views of an item's taste.

    Items come in groups of similar taste, as products come in kinds.

    A user's pairs are split 8 : 1 : 1 at random. Cold items occur in no training pair by popularity skew alone.
    """

    num_users: Count
    num_items: Count
    num_interactions: Count
    """Distinct pairs; at least 3 per user."""
    taste_dim: Count
    """T."""
    num_groups: Count
    """Kinds of items."""
    spread: Share
    """Share of an item's taste that is its own, not its group's."""
    sharpness: NonNegative
    """How much taste decides a choice; 0: popularity alone."""
    popularity: NonNegative
    """Exponent of the popularity skew; 0: none."""
    content: Share
    """Share of a feature's variance that is the item's taste; 0: pure noise."""
    modalities: Mapping[str, Count]
    """Feature width by modality."""
    categories: bool
    """Whether the data name an item's group as its category."""
    seed: Seed
    held_out: Annotated[float, Within("(0, 0.5)")]
    """Share of a user's pairs in validation, and again in test."""

    def __post_init__(self) -> None:
        if not 3 * self.num_users <= self.num_interactions <= self.num_users * (self.num_items // 2):
            raise ValueError(
                "dataset.num_interactions must be between 3 per user and half of the items per user, "
                f"got {self.num_interactions} for {self.num_users} users and {self.num_items} items"
            )

    def __call__(self) -> Dataset:
        """Draw the data set; equal options give equal data."""
        rng = stream(self.seed, "dataset", "taste")
        user_UT = rng.standard_normal((self.num_users, self.taste_dim), dtype=np.float32)
        group_GT = rng.standard_normal((self.num_groups, self.taste_dim), dtype=np.float32)
        own_IT = rng.standard_normal((self.num_items, self.taste_dim), dtype=np.float32)
        group_I = rng.integers(0, self.num_groups, self.num_items)
        group_IT = group_GT[group_I]
        item_IT = np.sqrt(np.float32(1 - self.spread)) * group_IT + np.sqrt(np.float32(self.spread)) * own_IT
        keys = self._choices(user_UT, item_IT)
        label = self._split(keys // self.num_items)
        train, valid, test = (Edges.from_keys(keys[label == part], self.num_users, self.num_items) for part in range(3))
        features = {name: self._features(item_IT, name, width) for name, width in sorted(self.modalities.items())}
        return Dataset("synthetic", train, valid, test, features, categories=group_I if self.categories else None)

    def _choices(self, user_UT: NDArray[np.float32], item_IT: NDArray[np.float32]) -> IntArray:
        """Sorted keys of each user's n best items by taste, popularity and Gumbel noise: draws without replacement."""
        rng = stream(self.seed, "dataset", "choices")
        order = rng.permutation(self.num_items)
        log_popularity = (-self.popularity * np.log1p(order)).astype(np.float32)
        counts = self._activity(rng)
        scale = np.float32(self.sharpness / np.sqrt(self.taste_dim))
        keys = []
        for start in range(0, self.num_users, BLOCK):
            users = np.arange(start, min(start + BLOCK, self.num_users))
            utility = user_UT[users] @ item_IT.T * scale + log_popularity
            utility -= np.log(rng.standard_exponential(utility.shape, dtype=np.float32))
            most = counts[users].max()
            best = np.argpartition(-utility, most - 1, axis=1)[:, :most]
            best = np.take_along_axis(best, np.argsort(-np.take_along_axis(utility, best, 1), axis=1), 1)
            chosen = np.arange(most) < counts[users][:, None]
            keys.append((users[:, None] * self.num_items + best)[chosen])
        return np.sort(np.concatenate(keys))

    def _activity(self, rng: np.random.Generator) -> IntArray:
        """Pairs of each user: 3 and a skewed share of the rest, at most half of the items."""
        weight = rng.gamma(1.0, size=self.num_users)
        rest = rng.multinomial(self.num_interactions - 3 * self.num_users, weight / weight.sum())
        counts = np.minimum(3 + rest, self.num_items // 2)
        while missing := self.num_interactions - counts.sum():
            open_users = np.flatnonzero(counts < self.num_items // 2)
            counts[rng.permutation(open_users)[:missing]] += 1
        return counts

    def _split(self, users: IntArray) -> IntArray:
        """Label 0, 1 or 2 of each pair: per user a share held out twice, at least one pair each where there are 3."""
        rng = stream(self.seed, "dataset", "split")
        counts = np.bincount(users, minlength=self.num_users)
        starts = np.cumsum(counts) - counts
        order = np.lexsort((rng.random(len(users)), users))
        place = np.arange(len(users)) - starts[users]
        held = np.floor(self.held_out * counts + rng.random(self.num_users)).astype(np.int64)
        held = np.clip(held, 1, np.maximum(1, (counts - 1) // 2))[users]
        label = np.empty(len(users), dtype=np.int64)
        label[order] = np.where(place < held, 1, np.where(place < 2 * held, 2, 0))
        return label

    def _features(self, item_IT: NDArray[np.float32], name: str, width: int) -> NDArray[np.float32]:
        """A random linear view of the taste, mixed with noise to unit variance, (I, width)."""
        rng = stream(self.seed, "dataset", "features", name)
        view = rng.standard_normal((self.taste_dim, width), dtype=np.float32) / np.float32(np.sqrt(self.taste_dim))
        noise = rng.standard_normal((len(item_IT), width), dtype=np.float32)
        return np.sqrt(np.float32(self.content)) * (item_IT @ view) + np.sqrt(np.float32(1 - self.content)) * noise
