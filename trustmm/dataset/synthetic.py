"""Embedded data with a planted taste: the answer is known, any size can be had, nothing is downloaded."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from trustmm.dataset.data import Dataset
from trustmm.dataset.frames import Frames
from trustmm.exact import BELL_BITS, FloatArray, bell, exponential, logarithm, on_grid, product, weighted
from trustmm.graph.edges import Edges, IntArray
from trustmm.options.checks import Count, NonNegative, Seed, Share, Within
from trustmm.seeding import stream
from trustmm.store.identity import code_digest, describe

# Shapes: U users, I items, T planted taste dimensions, B users or items of a block, N frames of all items together.
BLOCK_ENTRIES = 1 << 18
"""Numbers drawn at a time (2 MiB), part of the recipe."""
CLIP, MOMENT = 0.4, 0.3
"""Shares of a frame's noise that the item's other frames have, too, and that the other modalities have at its time."""


@dataclass(frozen=True, kw_only=True)
class SyntheticDataset:
    """Users choose items by taste and popularity; features are noisy views of an item's taste.

    Items come in groups of similar taste, as products come in kinds. Every machine draws the same bits (see `exact`),
    and the recipe, options and this code, stands for the data.

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
    frames: Mapping[str, Count]
    """Modalities with a time axis, and the most frames of an item, which has between 1 and so many."""
    categories: bool
    """Whether the data name an item's group as its category."""
    seed: Seed
    held_out: Annotated[float, Within("(0, 0.5)")]
    """Share of a user's pairs in validation, and again in test."""

    def __post_init__(self) -> None:
        for name in self.frames:
            if name not in self.modalities:
                raise ValueError(f"dataset.frames.{name}: there is no such modality, only {sorted(self.modalities)}")
        if not 3 * self.num_users <= self.num_interactions <= self.num_users * (self.num_items // 2):
            raise ValueError(
                "dataset.num_interactions must be between 3 per user and half of the items per user, "
                f"got {self.num_interactions} for {self.num_users} users and {self.num_items} items"
            )

    def __call__(self) -> Dataset:
        """Draw the data set; equal options give equal data."""
        user_UT, item_IT, group_I = self.tastes()
        keys = self._choices(user_UT, item_IT)
        label = self._split(keys // self.num_items)
        train, valid, test = (Edges.from_keys(keys[label == part], self.num_users, self.num_items) for part in range(3))
        frames = self._frames(item_IT)
        features = {
            name: frames[name].pooled() if name in frames else self._features(item_IT, name, width)
            for name, width in sorted(self.modalities.items())
        }
        recipe = {"options": describe(self), "code": code_digest(__name__)}
        categories = group_I if self.categories else None
        return Dataset("synthetic", train, valid, test, features, categories=categories, recipe=recipe, frames=frames)

    def tastes(self) -> tuple[FloatArray, FloatArray, IntArray]:
        """What is planted: the tastes of users (U, T) and items (I, T), and the group of each item (I,)."""
        rng = stream(self.seed, "dataset", "taste")
        sizes = (self.num_users, self.num_groups, self.num_items)
        user_UT, group_GT, own_IT = (bell(rng, (size, self.taste_dim)) for size in sizes)
        group_I = rng.integers(0, self.num_groups, self.num_items)
        mixed_IT = math.sqrt(1 - self.spread) * group_GT[group_I] + math.sqrt(self.spread) * own_IT
        return user_UT, on_grid(mixed_IT, BELL_BITS), group_I

    def _choices(self, user_UT: FloatArray, item_IT: FloatArray) -> IntArray:
        """Sorted keys of each user's n best items by taste, popularity and Gumbel noise: draws without replacement."""
        rng = stream(self.seed, "dataset", "choices")
        log_popularity_I = -self.popularity * logarithm(1.0 + rng.permutation(self.num_items))
        counts = self._activity(rng)
        scale = self.sharpness / math.sqrt(self.taste_dim)
        keys = []
        for users in _blocks(self.num_users, self.num_items):
            utility_BI = product(user_UT[users], item_IT.T) * scale + log_popularity_I
            utility_BI -= logarithm(exponential(rng, utility_BI.shape))
            rows, items = best(utility_BI, counts[users])
            keys.append((users.start + rows) * self.num_items + items)
        return np.sort(np.concatenate(keys))

    def _activity(self, rng: np.random.Generator) -> IntArray:
        """Pairs of each user: 3 and a skewed share of the rest, at most half of the items."""
        weights = 1 + np.floor(exponential(rng, self.num_users) * 2**20).astype(np.int64)
        rest = weighted(rng, weights, self.num_interactions - 3 * self.num_users)
        counts = np.minimum(3 + np.bincount(rest, minlength=self.num_users), self.num_items // 2)
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

    def _features(self, item_IT: FloatArray, name: str, width: int) -> NDArray[np.float32]:
        """A random linear view of the taste, mixed with noise to unit variance, (I, width)."""
        rng = stream(self.seed, "dataset", "features", name)
        view_TX = bell(rng, (self.taste_dim, width))
        signal, noise = math.sqrt(self.content / self.taste_dim), math.sqrt(1 - self.content)
        features_IX = np.empty((self.num_items, width), dtype=np.float32)
        for items in _blocks(self.num_items, width):
            view_BX = product(item_IT[items], view_TX)
            features_IX[items] = signal * view_BX + noise * bell(rng, view_BX.shape)
        return features_IX

    def _frames(self, item_IT: FloatArray) -> dict[str, Frames]:
        """Of each modality with a time axis: the taste, noise of the item, of the moment, and of the frame alone."""
        found = {}
        for name, most in sorted(self.frames.items()):
            share_I = stream(self.seed, "dataset", "lengths").random(self.num_items)
            lengths = 1 + np.floor(share_I * most).astype(np.int64)
            offsets = np.concatenate([[0], np.cumsum(lengths)])
            item_N = np.repeat(np.arange(self.num_items), lengths)
            moment_NT = bell(stream(self.seed, "dataset", "moments"), (len(item_N), self.taste_dim))
            rng, width = stream(self.seed, "dataset", "frames", name), self.modalities[name]
            taste_TX, moment_TX = (bell(rng, (self.taste_dim, width)) for _ in range(2))
            clip_IX = bell(rng, (self.num_items, width))
            signal, noise = math.sqrt(self.content / self.taste_dim), math.sqrt(1 - self.content)
            clip, moment, own = (math.sqrt(part) * noise for part in (CLIP, MOMENT, 1 - CLIP - MOMENT))
            rows_NX = np.empty((len(item_N), width), dtype=np.float32)
            for part in _blocks(len(item_N), width):
                item_B = item_N[part]
                view_BX = signal * product(item_IT[item_B], taste_TX) + clip * clip_IX[item_B]
                view_BX += moment / math.sqrt(self.taste_dim) * product(moment_NT[part], moment_TX)
                rows_NX[part] = view_BX + own * bell(rng, view_BX.shape)
            found[name] = Frames(rows_NX, offsets)
        return found


def best(utility_BI: FloatArray, counts_B: IntArray) -> tuple[IntArray, IntArray]:
    """Rows and items of each row's `counts` largest utilities; equal ones by the smaller index."""
    most = int(counts_B.max())
    least_B1 = -np.partition(-utility_BI, most - 1, axis=1)[:, most - 1 : most]
    rows, items = np.nonzero(utility_BI >= least_B1)
    order = np.lexsort((-utility_BI[rows, items], rows))
    place = np.arange(len(rows)) - np.searchsorted(rows, rows)
    order = order[place < counts_B[rows]]
    return rows[order], items[order]


def _blocks(count: int, width: int) -> list[slice]:
    """Consecutive rows, as many as `BLOCK_ENTRIES` numbers have room for."""
    step = max(1, BLOCK_ENTRIES // width)
    return [slice(start, min(start + step, count)) for start in range(0, count, step)]
