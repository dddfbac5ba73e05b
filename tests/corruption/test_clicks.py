"""Kinds of interaction noise: exact counts, nested over the ratio, outside of what was observed."""

import functools

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from scipy.stats import chisquare

from trustmm.corruption.clicks import BOT_SHARE, click_noise
from trustmm.corruption.stress import StressTest
from trustmm.dataset.data import TrainData
from trustmm.graph import free_pairs as drawing
from trustmm.graph.edges import Edges
from trustmm.graph.free_pairs import free_pairs
from trustmm.seeding import stream

KINDS = ("uniform", "popularity", "groups", "swap")
USERS, ITEMS = 90, 120
CLEAN = {"kind": "permute", "eta": 0.0, "eta_of": {}, "joint": False, "frame_share": 0.5}


@functools.cache
def observed() -> tuple[Edges, Edges]:
    """Training pairs and all pairs; the degree of item i falls with i."""
    rng = np.random.default_rng(0)
    keys = np.flatnonzero(rng.random((USERS, ITEMS)) < np.linspace(0.15, 0, ITEMS))
    return Edges.from_keys(np.sort(rng.permutation(keys)[:500]), USERS, ITEMS), Edges.from_keys(keys, USERS, ITEMS)


def noise(kind: str, eta_e: float, seed: int = 0) -> tuple[Edges, Edges]:
    return click_noise(*observed(), kind=kind, eta_e=eta_e, seed=seed)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("hundredths", [1, 7, 15, 30])
def test_counts_are_exact_and_added_pairs_are_new(kind: str, hundredths: int) -> None:
    train, everything = observed()
    added, lost = noise(kind, hundredths / 100)
    count = hundredths * len(train) // 100
    assert len(added) == (count // 2 * 2 if kind == "swap" else count)
    assert len(lost) == (len(added) if kind == "swap" else 0)
    assert not everything.contains(added.keys).any()
    assert train.contains(lost.keys).all()
    for pairs in (added, lost):
        assert (np.diff(pairs.keys) > 0).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("enumerate_up_to", [drawing.ENUMERATE, 0])
def test_noise_of_growing_ratios_is_nested_and_seeds_differ(
    kind: str, enumerate_up_to: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drawing, "ENUMERATE", enumerate_up_to)
    levels = [noise(kind, eta_e) for eta_e in (0.05, 0.15, 0.3)]
    for (few, few_lost), (many, many_lost) in zip(levels, levels[1:], strict=False):
        assert many.contains(few.keys).all()
        assert many_lost.contains(few_lost.keys).all()
    assert_array_equal(noise(kind, 0.15)[0].keys, levels[1][0].keys)
    assert not np.array_equal(noise(kind, 0.15, seed=1)[0].keys, levels[1][0].keys)


@pytest.mark.parametrize("kind", KINDS)
def test_ratio_zero_changes_nothing(kind: str) -> None:
    train, everything = observed()
    data = TrainData(train, train, {})
    same, damage = StressTest(**CLEAN, eta_e=0.0, edge_kind=kind, seed=3)(data, observed=everything)
    assert same.supervision is train
    assert len(damage.added) == len(damage.deleted) == 0


@pytest.mark.parametrize("enumerate_up_to", [drawing.ENUMERATE, 0])
def test_first_popular_pair_comes_in_proportion_to_its_item(
    enumerate_up_to: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drawing, "ENUMERATE", enumerate_up_to)
    monkeypatch.setattr(drawing, "DRAW", 8)
    seen, weight, counts = Edges.of([0, 1, 2], [0, 1, 2], 3, 4), np.array([1, 2, 3, 4]), np.zeros(12)
    for seed in range(3000):
        counts[free_pairs(seen, 1, stream(seed, "popular"), item_weight=weight).keys] += 1
    free = ~seen.contains(np.arange(12))
    assert not counts[~free].any()
    expected = np.tile(weight, 3)[free]
    assert chisquare(counts[free], 3000 * expected / expected.sum()).pvalue > 0.001


def test_popular_items_get_more_and_unknown_ones_some() -> None:
    added, _ = noise("popularity", 0.9)
    degree = observed()[0].item_degree
    busy = degree > np.median(degree)
    assert added.item_degree[busy].mean() > 2 * added.item_degree[~busy].mean()
    assert added.item_degree[degree == 0].sum() > 0


def test_bots_are_few_and_each_clicks_on_a_share_of_the_items() -> None:
    added, _ = noise("groups", 0.15)
    per_bot, quota = added.user_degree[added.user_degree > 0], ITEMS // BOT_SHARE
    assert len(per_bot) == -(-len(added) // quota)
    assert (np.sort(per_bot)[1:] == quota).all()
    with pytest.raises(ValueError, match="edge_kind=groups has 540: each user clicks on one in 20 items"):
        click_noise(*dense(), kind="groups", eta_e=1.0, seed=0)


def dense() -> tuple[Edges, Edges]:
    keys = np.sort(np.random.default_rng(0).permutation(USERS * ITEMS)[:4000])
    return (Edges.from_keys(keys, USERS, ITEMS),) * 2


def test_a_swap_keeps_every_degree() -> None:
    train, everything = observed()
    data = TrainData(train, train, {})
    damaged, damage = StressTest(**CLEAN, eta_e=0.4, edge_kind="swap", seed=0)(data, observed=everything)
    assert_array_equal(damaged.supervision.user_degree, train.user_degree)
    assert_array_equal(damaged.supervision.item_degree, train.item_degree)
    assert len(damage.added) == len(damage.deleted) == 200
    assert not damaged.supervision.contains(damage.deleted.keys).any()
    full = Edges.of([0, 0, 1, 1], [0, 1, 0, 1], 2, 4)
    with pytest.raises(ValueError, match="asks for 4 edges to be swapped, but only 0 can exchange items"):
        click_noise(full, full, kind="swap", eta_e=1.0, seed=0)


def test_kinds_are_part_of_the_identity_where_there_is_noise_and_the_papers_is_not_written_down() -> None:
    def identity(eta_e: float, edge_kind: str) -> object:
        return StressTest(**CLEAN, eta_e=eta_e, edge_kind=edge_kind, seed=0).identity()

    assert len({str(identity(0.1, kind)) for kind in KINDS}) == len(KINDS)
    assert len({str(identity(0.0, kind)) for kind in KINDS}) == 1
    assert "edge_kind" not in str(identity(0.1, "uniform"))


@pytest.mark.parametrize("kind", KINDS[1:])
def test_deletion_is_uniform_alone(kind: str) -> None:
    with pytest.raises(ValueError, match=f"edge_kind={kind} adds pairs, but corruption.eta_e=-0.1 deletes edges"):
        StressTest(**CLEAN, eta_e=-0.1, edge_kind=kind, seed=0)
