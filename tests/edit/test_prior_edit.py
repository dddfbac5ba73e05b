"""The edit as built from options: exact counts, distinct pairs, ratio 0 the identity."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from omegaconf import OmegaConf

from trustmm.dataset.data import TrainData
from trustmm.edit.prior_edit import PriorEdit
from trustmm.edit.proposal import Proposal
from trustmm.graph.edges import Edges
from trustmm.options.build import build
from trustmm.options.config import config_folder
from trustmm.prior.lightgcn import Prior
from trustmm.store.cache import Cache
from trustmm.store.digest import digest
from trustmm.store.identity import describe

Graph = tuple[TrainData, Edges, Prior]
CPU = torch.device("cpu")
MODES = ("train_only", "graph_only", "both")


def edit(where: str = "both", **changes: Any) -> PriorEdit:
    options = OmegaConf.load(config_folder() / "edit" / f"{where}.yaml")
    options.merge_with(changes)
    return build(OmegaConf.create({"edit": options}), "edit")


GENEROUS = edit(k_user=29)
"""Every free pair is a candidate."""


def propose(graph: Graph, stage: PriorEdit) -> Proposal:
    train, _, prior = graph
    return stage(train, lambda: prior, seed=0, cache=Cache(None), device=CPU)


@pytest.mark.parametrize("where", MODES)
def test_options_have_the_paper_defaults_and_the_keys_of_none(where: str) -> None:
    stage = edit(where)
    assert (stage.where, stage.op, stage.ratio, stage.k_user, stage.k_item) == (where, "complete", 0.05, 10, 10)
    assert stage.exclude_heldout
    none, own = (OmegaConf.load(config_folder() / "edit" / f"{name}.yaml") for name in ("none", where))
    assert set(none) == set(own)


@pytest.mark.parametrize("where", MODES)
def test_an_option_says_which_edge_sets_change(graph: Graph, where: str) -> None:
    found = propose(graph, edit(where))
    assert (found.supervision, found.propagation) == (where != "graph_only", where != "train_only")


@pytest.mark.parametrize("op", ["prune", "complete"])
@given(ratio=st.integers(0, 100).map(lambda percent: percent / 100))
def test_counts_are_exact_and_pairs_are_distinct_and_on_the_right_side(op: str, ratio: float) -> None:
    rng = np.random.default_rng(0)
    edges = Edges.of(*(rng.random((17, 29)) < 0.2).nonzero(), 17, 29)
    train = TrainData(edges, edges, {})
    prior = Prior(*(rng.integers(-1, 2, (count, 3)).astype(np.float32) for count in (17, 29)))
    percent = round(ratio * 100)
    stage = replace(GENEROUS, op=op, ratio=ratio)
    found = stage(train, lambda: prior, seed=0, cache=Cache(None), device=CPU)
    removed, added = (percent * len(edges) // 100 if op == name else 0 for name in ("prune", "complete"))
    assert (len(found.removed), len(found.added)) == (removed, added)
    assert edges.contains(found.removed.keys).all()
    assert not edges.contains(found.added.keys).any()
    for pairs in (found.removed, found.added):
        assert (np.diff(pairs.keys) > 0).all()


@pytest.mark.parametrize("op", ["prune", "complete"])
def test_ratio_zero_is_the_identity_and_does_not_ask_for_the_prior(graph: Graph, op: str) -> None:
    train, held_out, _ = graph

    def unwanted() -> Prior:
        raise AssertionError("the prior was asked for")

    found = edit(op=op, ratio=0.0)(train, unwanted, seed=0, cache=Cache(None), device=CPU)
    assert found.apply(train, held_out=held_out) is train


@pytest.mark.parametrize("op", ["prune", "complete"])
def test_equal_inputs_give_equal_edges_and_stay_as_they_are(graph: Graph, op: str) -> None:
    train, _, prior = graph
    before = [train.supervision.keys.copy(), prior.user_UD.copy(), prior.item_ID.copy()]
    first, second = (propose(graph, edit(op=op, ratio=0.3)) for _ in range(2))
    assert first.removed.same_as(second.removed)
    assert first.added.same_as(second.added)
    for old, new in zip(before, (train.supervision.keys, prior.user_UD, prior.item_ID), strict=True):
        assert_array_equal(new, old)


@pytest.mark.parametrize("op", ["prune", "complete"])
def test_growing_ratios_are_nested(graph: Graph, op: str) -> None:
    few, many = (propose(graph, edit(op=op, ratio=ratio)) for ratio in (0.1, 0.3))
    for small, large in ((few.removed, many.removed), (few.added, many.added)):
        assert large.contains(small.keys).all()


def test_supervision_is_ranked_whatever_carries_messages(graph: Graph) -> None:
    train, _, prior = graph
    other = replace(train, propagation=Edges.from_keys(train.propagation.keys[:5], train.num_users, train.num_items))
    found = edit(op="prune", ratio=0.3)(other, lambda: prior, seed=0, cache=Cache(None), device=CPU)
    assert found.removed.same_as(propose(graph, edit(op="prune", ratio=0.3)).removed)


def test_options_of_completion_are_no_part_of_the_identity_of_pruning() -> None:
    changes = {"k_user": 3, "k_item": 4, "exclude_heldout": False}
    assert describe(edit(op="prune", **changes)) == describe(edit(op="prune"))
    for key, value in changes.items():
        assert describe(edit(op="complete", **{key: value})) != describe(edit(op="complete"))
    for change in ({"op": "prune"}, {"ratio": 0.1}, {"where": "train_only"}):
        assert describe(edit(**change)) != describe(edit())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"op": "shuffle"}, "edit.op must be complete or prune or reweigh or graphda, got 'shuffle'"),
        ({"ratio": 1.5}, r"edit.ratio must be in \[0, 1\], got 1.5"),
        ({"k_user": 0}, r"edit.k_user must be in \[1, inf\), got 0"),
    ],
)
def test_bad_values_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        edit(**changes)


@pytest.mark.parametrize("ratio", [0.0, 0.1])
@pytest.mark.parametrize("op", ["prune", "complete", "graphda"])
def test_an_edit_is_idle_where_it_changes_nothing_and_asks_for_no_prior(graph: Graph, op: str, ratio: float) -> None:
    """What is idle leaves the prior's options out of a job's identity."""
    train, held_out, prior = graph
    stage, asked = edit("graph_only", op=op, ratio=ratio), []
    edited = stage(train, lambda: asked.append(1) or prior, device=CPU).apply(train, held_out=held_out)
    assert bool(asked) != stage.idle
    before, after = (digest(list(edges.propagation.messages())) for edges in (train, edited))
    assert (before == after) == stage.idle
