"""Interaction noise: which pairs are added to the training edges, and which are lost.

Every draw is a list whose first pairs are taken, so that for one seed the noise of growing ratios is nested.
"""

from collections.abc import Callable
from typing import Literal

import numpy as np

from trustmm.exact import exact_share
from trustmm.graph.edges import Edges, IntArray
from trustmm.graph.free_pairs import free_pairs, num_free
from trustmm.seeding import stream

ClickKind = Literal["uniform", "popularity", "groups", "swap"]
BOT_SHARE = 20
"""A bot clicks on one in so many items."""


def click_noise(edges: Edges, observed: Edges, *, kind: ClickKind, eta_e: float, seed: int) -> tuple[Edges, Edges]:
    """Pairs added and edges lost: floor(|eta_e| * E) of them.

    Args:
        edges: training edges.
        observed: pairs of all splits; what is added lies outside.
        kind: `uniform`: any pair; `popularity`: items in proportion to 1 + their degree; `groups`: a few users, drawn
            one after the other, who each click on a twentieth of the items; `swap`: edges exchange their items in
            twos, so that nobody's degree changes and as many pairs are lost as added (an odd one stays).
        eta_e: below 0 edges are lost, uniformly whatever the kind.
        seed: of the draws.

    Raises: ValueError if so many pairs are not to be had.
    """
    count = exact_share(abs(eta_e), len(edges))
    none = edges.subset(np.empty(0, dtype=np.int64))
    if eta_e < 0:
        lost = stream(seed, "corruption", "delete").permutation(len(edges))[:count]
        return none, edges.subset(np.sort(lost))
    if not count:
        return none, none
    if count > num_free(observed):
        raise ValueError(f"corruption.eta_e asks for {count} new pairs, but only {num_free(observed)} are unobserved")
    if kind == "swap":
        return _exchanged(edges, observed, count, stream(seed, "corruption", "swap"))
    if kind == "uniform":
        return free_pairs(observed, count, stream(seed, "corruption", "add")), none
    draw: Callable[..., Edges] = {"popularity": _popular_pairs, "groups": _bot_pairs}[kind]
    return draw(edges, observed, count, stream(seed, "corruption", "add", kind)), none


def _popular_pairs(edges: Edges, observed: Edges, count: int, rng: np.random.Generator) -> Edges:
    return free_pairs(observed, count, rng, item_weight=edges.item_degree + 1)


def _bot_pairs(edges: Edges, observed: Edges, count: int, rng: np.random.Generator) -> Edges:
    num_items, keys, missing = edges.num_items, [], count
    for user in rng.permutation(edges.num_users):
        known = observed.items[observed.user_offsets[user] : observed.user_offsets[user + 1]]
        free = rng.permutation(np.setdiff1d(np.arange(num_items), known, assume_unique=True))
        keys.append(user * num_items + free[: min(missing, -(-num_items // BOT_SHARE))])
        missing -= len(keys[-1])
        if not missing:
            return Edges.from_keys(np.sort(np.concatenate(keys)), edges.num_users, num_items)
    raise ValueError(
        f"corruption.eta_e asks for {count} new pairs, but corruption.edge_kind=groups has {count - missing}: "
        f"each user clicks on one in {BOT_SHARE} items"
    )


def _exchanged(edges: Edges, observed: Edges, count: int, rng: np.random.Generator) -> tuple[Edges, Edges]:
    """Twos of edges (u, i), (v, j) in a random order become (u, j), (v, i) where both are new."""
    order = rng.permutation(len(edges))
    one, other = (order[start : len(order) // 2 * 2 : 2] for start in (0, 1))
    new = np.stack([_keys(edges, one, other), _keys(edges, other, one)], axis=1)
    first = np.zeros(new.size, dtype=bool)
    first[np.unique(new, return_index=True)[1]] = True
    possible = np.flatnonzero((~observed.contains(new) & first.reshape(new.shape)).all(axis=1))
    if count // 2 > len(possible):
        raise ValueError(
            f"corruption.eta_e asks for {count} edges to be swapped, but only {2 * len(possible)} can exchange items"
        )
    chosen = possible[: count // 2]
    lost = np.sort(np.concatenate([one[chosen], other[chosen]]))
    return Edges.from_keys(np.sort(new[chosen].ravel()), edges.num_users, edges.num_items), edges.subset(lost)


def _keys(edges: Edges, of_user: IntArray, of_item: IntArray) -> IntArray:
    return edges.users[of_user] * edges.num_items + edges.items[of_item]
