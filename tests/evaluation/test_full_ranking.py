"""Who is evaluated, and which numbers lead."""

import re

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal

from trustmm.backbone.base import Embeddings
from trustmm.evaluation.full_ranking import MASKS, Evaluator, FullRanking, Scores
from trustmm.evaluation.metrics import per_user_metrics
from trustmm.graph.edges import Edges

CPU = torch.device("cpu")
NUM_USERS, NUM_ITEMS = 17, 29
PROTOCOL = FullRanking(cutoffs=[5, 10, 20], filter="clean", metrics={}, batch_size=4)


def make_splits(seed: int = 0) -> tuple[Edges, Edges]:
    """Clean training and held-out pairs; users 3 and 5 have no training pair, user 8 no held-out pair."""
    keys = np.random.default_rng(seed).permutation(NUM_USERS * NUM_ITEMS)
    users = keys // NUM_ITEMS
    train = keys[:200][~np.isin(users[:200], [3, 5])]
    held_out = keys[200:300][users[200:300] != 8]
    return tuple(Edges.from_keys(np.sort(part), NUM_USERS, NUM_ITEMS) for part in (train, held_out))


def embeddings(seed: int = 0) -> Embeddings:
    rng = np.random.default_rng(seed)
    return Embeddings(
        *(torch.from_numpy(rng.standard_normal((rows, 4)).astype(np.float32)) for rows in (NUM_USERS, NUM_ITEMS))
    )


def evaluator(held_out: Edges, clean: Edges, corrupted: Edges, edited: Edges, filter: str = "clean") -> Evaluator:
    protocol = FullRanking(cutoffs=[5, 10, 20], filter=filter, metrics={}, batch_size=4)
    return protocol.evaluator(held_out, {"clean": clean, "corrupted": corrupted, "edited": edited}, CPU)


def without(edges: Edges, user: int) -> Edges:
    return Edges.from_keys(edges.keys[edges.users != user], NUM_USERS, NUM_ITEMS)


def test_users_without_clean_training_items_are_left_out() -> None:
    train, held_out = make_splits()
    scores = evaluator(held_out, train, train, train)(embeddings())
    expected = np.intersect1d(np.unique(train.users), np.unique(held_out.users))
    assert_array_equal(scores.users, expected)
    assert not {3, 5, 8} & set(scores.users.tolist())
    assert all(len(values) == len(expected) for mask in MASKS for values in scores.per_user[mask].values())


def test_users_are_the_same_whatever_was_corrupted_or_edited() -> None:
    train, held_out = make_splits()
    whole = evaluator(held_out, train, train, train)(embeddings())
    damaged = evaluator(held_out, train, without(train, 0), without(without(train, 0), 1))(embeddings())
    grown = train.union(Edges.of([3, 5], [0, 0], NUM_USERS, NUM_ITEMS))
    edited = evaluator(held_out, train, grown, grown)(embeddings())
    assert_array_equal(damaged.users, whole.users)
    assert_array_equal(edited.users, whole.users)
    assert damaged.means == whole.means


def test_each_mask_has_the_numbers_of_its_own_hidden_items() -> None:
    train, held_out = make_splits()
    fewer = Edges.from_keys(train.keys[::3], NUM_USERS, NUM_ITEMS)
    final = embeddings()
    scores = evaluator(held_out, train, fewer, train)(final)
    products = (final.user_UD @ final.item_ID.T).numpy()
    kept = Edges.from_keys(held_out.keys[train.user_degree[held_out.users] > 0], NUM_USERS, NUM_ITEMS)
    for mask, hidden in (("clean", train), ("corrupted", fewer)):
        masked = products.copy()
        masked[hidden.users, hidden.items] = -np.inf
        ranks = (masked[kept.users] > masked[kept.users, kept.items][:, None]).sum(1)
        for name, values in per_user_metrics(kept, ranks, [5, 10, 20]).items():
            assert_array_equal(scores.per_user[mask][name], values)
    assert scores.means_of("clean") != scores.means_of("corrupted")


def test_masks_coincide_where_nothing_was_edited() -> None:
    train, held_out = make_splits()
    scores = evaluator(held_out, train, train, train)(embeddings())
    assert scores.means_of("clean") == scores.means_of("corrupted") == scores.means_of("edited")


@pytest.mark.parametrize("headline", MASKS)
def test_headline_is_the_chosen_mask(headline: str) -> None:
    train, held_out = make_splits()
    masks = (train, Edges.from_keys(train.keys[::2], NUM_USERS, NUM_ITEMS), without(train, 4))
    scores = evaluator(held_out, *masks, filter=headline)(embeddings())
    assert isinstance(scores, Scores)
    assert scores.headline == headline
    assert scores.means == scores.means_of(headline)
    assert len({scores.means_of(mask)["ndcg@10"] for mask in MASKS}) == 3


@pytest.mark.parametrize("batch_size", [1, 3, NUM_USERS, 500])
def test_batch_size_has_no_influence_on_the_numbers(batch_size: int) -> None:
    train, held_out = make_splits()
    expected = evaluator(held_out, train, train, train)(embeddings()).means
    protocol = FullRanking(cutoffs=[5, 10, 20], filter="clean", metrics={}, batch_size=batch_size)
    assert protocol.evaluator(held_out, dict.fromkeys(MASKS, train), CPU)(embeddings()).means == expected


def test_cutoffs_without_the_one_of_early_stopping_are_refused() -> None:
    message = "evaluation.cutoffs must contain 10 (early stopping uses it), got [5, 20]"
    with pytest.raises(ValueError, match=re.escape(message)):
        FullRanking(cutoffs=[5, 20], filter="clean", metrics={}, batch_size=4)


def test_hidden_held_out_pair_is_a_miss_also_when_a_list_could_hold_all_items() -> None:
    train, held_out = Edges.of([0], [1], 1, 5), Edges.of([0], [0], 1, 5)
    edited = Edges.of([0, 0], [0, 1], 1, 5)
    protocol = FullRanking(cutoffs=[5, 10, 50], filter="edited", metrics={}, batch_size=4)
    masks = {"clean": train, "corrupted": train, "edited": edited}
    scores = protocol.evaluator(held_out, masks, CPU)(Embeddings(torch.ones(1, 1), torch.arange(5.0)[:, None]))
    assert scores.means["recall@50"] == 0
    assert scores.means_of("clean")["recall@50"] == 1
