"""Ranks by counting against ranks by sorting, ties to the smaller item."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from trustmm.backbone.base import Embeddings
from trustmm.evaluation import ranking
from trustmm.evaluation.ranking import LANE, Ranker, _Counter, concatenated_ranges
from trustmm.graph.edges import Edges

PROPERTY = settings(derandomize=True, deadline=None, max_examples=40, database=None)
CPU = torch.device("cpu")
NUM_USERS, NUM_ITEMS, WIDTH = 17, 29, 4


def random_edges(rng: np.random.Generator, count: int, num_users: int = NUM_USERS, num_items: int = NUM_ITEMS) -> Edges:
    keys = rng.permutation(num_users * num_items)[:count]
    return Edges.from_keys(np.sort(keys), num_users, num_items)


def whole_numbers(rng: np.random.Generator, rows: int, most: int = 2) -> torch.Tensor:
    """Entries whose products are exact, with many equal scores."""
    return torch.from_numpy(rng.integers(-most, most + 1, (rows, WIDTH)).astype(np.float32))


def sorted_ranks(user: torch.Tensor, item: torch.Tensor, held_out: Edges, mask: Edges) -> np.ndarray:
    """A full stable sort of every user's scores, masked items taken out; a hidden pair comes after all items."""
    scores = (user.double() @ item.double().T).numpy()
    hidden = np.zeros(scores.shape, dtype=bool)
    hidden[mask.users, mask.items] = True
    ranks = []
    for u, i in zip(held_out.users, held_out.items, strict=True):
        order = [other for other in np.argsort(-scores[u], kind="stable") if not hidden[u, other]]
        ranks.append(order.index(i) if i in order else np.iinfo(int).max)
    return np.array(ranks)


def assert_ranks(found: np.ndarray, expected: np.ndarray, depth: int) -> None:
    """Equal below the depth; beyond it at least the depth."""
    shallow = expected < depth
    assert_array_equal(found[shallow], expected[shallow])
    assert (found[~shallow] >= depth).all()


@PROPERTY
@given(
    seed=st.integers(0, 9999),
    batch_size=st.integers(1, NUM_USERS + 3),
    depth=st.integers(1, NUM_ITEMS + 5),
    num_held_out=st.integers(1, 200),
    num_masked=st.integers(0, 250),
    overlapping=st.booleans(),
)
def test_ranks_equal_a_full_sort_under_every_mask(
    seed: int, batch_size: int, depth: int, num_held_out: int, num_masked: int, overlapping: bool
) -> None:
    rng = np.random.default_rng(seed)
    user, item = whole_numbers(rng, NUM_USERS), whole_numbers(rng, NUM_ITEMS)
    held_out = random_edges(rng, num_held_out)
    masks = {name: random_edges(rng, num_masked) for name in ("clean", "corrupted", "edited")}
    if not overlapping:
        masks = {
            name: Edges.from_keys(mask.keys[~held_out.contains(mask.keys)], NUM_USERS, NUM_ITEMS)
            for name, mask in masks.items()
        }

    found = Ranker(held_out, masks, depth=depth, batch_size=batch_size, device=CPU).ranks(Embeddings(user, item))

    assert sorted(found) == sorted(masks)
    for name, mask in masks.items():
        assert_ranks(found[name], sorted_ranks(user, item, held_out, mask), depth)


def test_a_masked_pair_is_kept_once_however_much_of_its_user_is_held_out() -> None:
    rng = np.random.default_rng(0)
    held_out, mask = random_edges(rng, 200), random_edges(rng, 250)
    ranker = Ranker(held_out, {"clean": mask}, depth=5, batch_size=4, device=CPU)
    kept = sum(len(items) for block in ranker.blocks for _, items, _ in block.masked.values())
    assert kept == mask.user_degree[held_out.user_degree > 0].sum()


class Written:
    """Scores as written, and which users were asked for."""

    num_items = NUM_ITEMS

    def __init__(self, scores: torch.Tensor) -> None:
        self.table, self.asked = scores, []

    def scores(self, users: torch.Tensor) -> torch.Tensor:
        self.asked.append(users.tolist())
        return self.table[users]

    def largest(self) -> torch.Tensor:
        return self.table.abs().max()


def test_scores_that_are_no_products_are_asked_for_once_in_blocks_of_users() -> None:
    rng = np.random.default_rng(4)
    table = torch.from_numpy(rng.integers(-3, 4, (NUM_USERS, NUM_ITEMS)).astype(np.float32))
    held_out, mask, scorer = random_edges(rng, 90), random_edges(rng, 90), Written(table)
    found = Ranker(held_out, {"clean": mask}, depth=NUM_ITEMS, batch_size=5, device=CPU).ranks(scorer)["clean"]
    assert_ranks(found, sorted_ranks(table, torch.eye(NUM_ITEMS), held_out, mask), NUM_ITEMS)
    assert max(map(len, scorer.asked)) == 5
    assert sorted(user for block in scorer.asked for user in block) == np.unique(held_out.users).tolist()


def test_constant_scores_rank_by_item_number() -> None:
    held_out = Edges.of([0, 0, 2], [3, 28, 0], 3, NUM_ITEMS)
    mask = Edges.of([0, 0, 2], [1, 2, 1], 3, NUM_ITEMS)
    ranker = Ranker(held_out, {"clean": mask}, depth=NUM_ITEMS, batch_size=2, device=CPU)
    assert_array_equal(
        ranker.ranks(Embeddings(torch.zeros(3, WIDTH), torch.zeros(NUM_ITEMS, WIDTH)))["clean"], [1, 26, 0]
    )


def test_held_out_pair_hidden_by_a_mask_is_never_in_a_list() -> None:
    held_out = Edges.of([0, 1], [0, 0], 2, 5)
    masks = {"clean": Edges.of([1], [4], 2, 5), "edited": Edges.of([0], [0], 2, 5)}
    item = torch.tensor([[9.0], [1], [2], [3], [4]])
    found = Ranker(held_out, masks, depth=50, batch_size=9, device=CPU).ranks(Embeddings(torch.ones(2, 1), item))
    assert_array_equal(found["clean"], [0, 0])
    assert found["edited"][0] >= 50
    assert found["edited"][1] == 0


@pytest.mark.parametrize("num_items", [LANE - 1, LANE, LANE + 1, 2100, 2 * LANE + 3])
def test_ranks_are_exact_around_the_width_of_a_chunk(num_items: int) -> None:
    rng = np.random.default_rng(num_items)
    item = torch.from_numpy(rng.permutation(num_items).astype(np.float32))[:, None]
    held_out = random_edges(rng, 40, 3, num_items)
    mask = random_edges(rng, 900, 3, num_items)
    user = torch.tensor([[1.0], [-1.0], [0.0]])
    found = Ranker(held_out, {"clean": mask}, depth=num_items, batch_size=2, device=CPU).ranks(Embeddings(user, item))[
        "clean"
    ]
    assert_ranks(found, sorted_ranks(user, item, held_out, mask), num_items)


def test_all_items_higher_does_not_overflow_a_counter() -> None:
    num_items = 3 * LANE + 1
    item = torch.arange(num_items, dtype=torch.float32)[:, None]
    held_out = Edges.of([0, 0, 1], [0, num_items - 1, 0], 2, num_items)
    nothing = Edges.from_keys(np.empty(0, dtype=np.int64), 2, num_items)
    ranker = Ranker(held_out, {"clean": nothing}, depth=num_items, batch_size=2, device=CPU)
    assert_array_equal(ranker.ranks(Embeddings(torch.tensor([[1.0], [-1.0]]), item))["clean"], [num_items - 1, 0, 0])


def test_small_chunks_give_the_same_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    user, item = whole_numbers(rng, NUM_USERS), whole_numbers(rng, NUM_ITEMS)
    held_out, mask = random_edges(rng, 90), random_edges(rng, 90)
    monkeypatch.setattr(ranking, "LANE", 8)
    found = Ranker(held_out, {"clean": mask}, depth=NUM_ITEMS, batch_size=5, device=CPU).ranks(Embeddings(user, item))[
        "clean"
    ]
    assert_ranks(found, sorted_ranks(user, item, held_out, mask), NUM_ITEMS)


def test_ranker_is_reusable_and_leaves_its_inputs() -> None:
    rng = np.random.default_rng(2)
    user, item = whole_numbers(rng, NUM_USERS), whole_numbers(rng, NUM_ITEMS)
    before = user.clone(), item.clone()
    held_out, mask = random_edges(rng, 60), random_edges(rng, 60)
    ranker = Ranker(held_out, {"clean": mask}, depth=NUM_ITEMS, batch_size=4, device=CPU)
    first = ranker.ranks(Embeddings(user, item))["clean"]
    ranker.ranks(Embeddings(-user, item))
    assert_array_equal(ranker.ranks(Embeddings(user, item))["clean"], first)
    assert torch.equal(user, before[0])
    assert torch.equal(item, before[1])


def test_equal_masks_are_ranked_once_and_answered_by_every_name() -> None:
    rng = np.random.default_rng(3)
    held_out, mask, other = (random_edges(rng, 40) for _ in range(3))
    copy = Edges.from_keys(mask.keys.copy(), NUM_USERS, NUM_ITEMS)
    ranker = Ranker(held_out, {"a": mask, "b": copy, "c": other, "d": mask}, depth=9, batch_size=4, device=CPU)
    assert list(ranker.masks) == ["a", "c"]
    found = ranker.ranks(Embeddings(whole_numbers(rng, NUM_USERS), whole_numbers(rng, NUM_ITEMS)))
    assert found["b"] is found["a"]
    assert found["d"] is found["a"]
    assert not np.array_equal(found["a"], found["c"])


def test_no_held_out_pairs_give_no_ranks() -> None:
    nothing = Edges.from_keys(np.empty(0, dtype=np.int64), 2, 3)
    ranker = Ranker(nothing, {"clean": nothing}, depth=3, batch_size=2, device=CPU)
    assert len(ranker.ranks(Embeddings(torch.zeros(2, 1), torch.zeros(3, 1)))["clean"]) == 0


@PROPERTY
@given(pairs=st.lists(st.tuples(st.integers(0, 50), st.integers(0, 5)), max_size=8))
def test_concatenated_ranges_equal_a_loop(pairs: list[tuple[int, int]]) -> None:
    starts, lengths = (np.array([pair[side] for pair in pairs], dtype=np.int64) for side in (0, 1))
    expected = [start + step for start, length in pairs for step in range(length)]
    assert_array_equal(concatenated_ranges(starts, lengths), expected)


@pytest.mark.parametrize("num_items", [1, LANE - 1, LANE, 3 * LANE + 7])
def test_byte_lanes_count_as_the_plain_sum_does(num_items: int) -> None:
    drawn = torch.Generator().manual_seed(1)
    counter = _Counter(6, num_items, torch.device("cpu"))
    user, item = torch.randn(6, 3, generator=drawn), torch.randn(num_items, 3, generator=drawn)
    scores = counter.block = user @ item.T
    items = torch.randint(num_items, (6,), generator=drawn)
    plain = (scores > scores.gather(1, items[:, None])).sum(1)
    own, found = counter.higher(items, torch.zeros(6, dtype=torch.int64))
    assert_array_equal(own.numpy(), scores.gather(1, items[:, None])[:, 0].numpy())
    assert_array_equal(found.numpy(), plain.numpy())
