"""What becomes of a proposal: which set changes, what is taken out again, what stays as it is."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from trustmm.dataset.data import TrainData
from trustmm.edit.proposal import Proposal, nothing
from trustmm.graph.edges import Edges
from trustmm.prior.lightgcn import Prior

Graph = tuple[TrainData, Edges, Prior]


def half(edges: Edges) -> Edges:
    return Edges.from_keys(edges.keys[::2], edges.num_users, edges.num_items)


def proposal(graph: Graph, **changes: bool) -> Proposal:
    """Remove every other training edge, add every other free pair: held-out ones among them."""
    train, _, _ = graph
    every = Edges.from_keys(np.arange(train.num_users * train.num_items), train.num_users, train.num_items)
    flags = {"supervision": True, "propagation": True, "exclude_heldout": True} | changes
    return Proposal(half(train.supervision), half(every.without(train.supervision)), **flags)


@pytest.mark.parametrize(("supervision", "propagation"), [(True, False), (False, True), (True, True)])
def test_only_the_chosen_edge_sets_change(graph: Graph, supervision: bool, propagation: bool) -> None:
    train, held_out, _ = graph
    wanted = proposal(graph, supervision=supervision, propagation=propagation)
    edited = wanted.apply(train, held_out=held_out)
    expected = np.union1d(
        np.setdiff1d(train.supervision.keys, wanted.removed.keys), np.setdiff1d(wanted.added.keys, held_out.keys)
    )
    for name, changed in (("supervision", supervision), ("propagation", propagation)):
        before, after = getattr(train, name), getattr(edited, name)
        assert_array_equal(after.keys, expected if changed else before.keys)
        assert (after is before) == (not changed)


def test_held_out_pairs_are_added_only_where_that_is_asked_for(graph: Graph) -> None:
    train, held_out, _ = graph
    fair, leaking = (proposal(graph, exclude_heldout=flag) for flag in (True, False))
    assert leaking.additions(held_out).same_as(leaking.added)
    leaked = np.intersect1d(leaking.added.keys, held_out.keys)
    assert len(leaked)
    assert_array_equal(np.setdiff1d(leaking.added.keys, fair.additions(held_out).keys), leaked)
    assert not fair.apply(train, held_out=held_out).supervision.contains(held_out.keys).any()
    assert leaking.apply(train, held_out=held_out).supervision.contains(leaked).all()


def test_inputs_stay_as_they_are(graph: Graph) -> None:
    train, held_out, _ = graph
    before = train.supervision.keys.copy(), train.propagation.keys.copy(), held_out.keys.copy()
    proposal(graph).apply(train, held_out=held_out)
    after = train.supervision.keys, train.propagation.keys, held_out.keys
    for old, new in zip(before, after, strict=True):
        assert_array_equal(new, old)


def test_nothing_to_change_gives_the_data_themselves(graph: Graph) -> None:
    train, held_out, _ = graph
    assert not nothing(train).changes
    assert nothing(train).apply(train, held_out=held_out) is train
