"""The graph selected anew against dense matrices, ties included, and within whole jobs."""

from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from omegaconf import OmegaConf
from scipy.special import expit

from tests.edit.test_edit_in_a_job import Watched, make
from trustmm.dataset.data import TrainData
from trustmm.edit.graphda import reselected
from trustmm.edit.prior_edit import PriorEdit
from trustmm.graph.bipartite import bipartite_operator, sample_edges
from trustmm.graph.edges import Edges
from trustmm.graph.weighted import WeightedEdges
from trustmm.options.build import build
from trustmm.options.config import config_folder
from trustmm.prior.lightgcn import Prior
from trustmm.store.cache import Cache
from trustmm.store.identity import describe

Graph = tuple[TrainData, Edges, Prior]
CPU = torch.device("cpu")
CHOICES = {"k_user": 4, "k_item": 2, "k_among_users": 3, "k_among_items": 5}


def chosen(similarity: np.ndarray, k: int) -> np.ndarray:
    """1 where a row chooses a column, equal similarities the smaller first."""
    order = np.argsort(-similarity, axis=1, kind="stable")[:, :k]
    result = np.zeros_like(similarity)
    np.put_along_axis(result, order, 1, axis=1)
    return result


def by_hand(prior: Prior, threshold: float) -> np.ndarray:
    """A of the paper, dense."""
    user, item = prior.user_UD.astype(float), prior.item_ID.astype(float)
    pairs, blocks = user @ item.T, []
    weight = chosen(pairs, CHOICES["k_user"]) + chosen(pairs.T, CHOICES["k_item"]).T
    weight = np.where(expit(pairs) > threshold, weight * (1 if threshold else expit(pairs)), 0)
    for rows, k in ((user, CHOICES["k_among_users"]), (item, CHOICES["k_among_items"])):
        alike = rows @ rows.T
        np.fill_diagonal(alike, -np.inf)
        choice = chosen(alike, k)
        blocks.append(choice + choice.T)
    return np.block([[blocks[0], weight], [weight.T, blocks[1]]])


def dense(graph: Edges) -> np.ndarray:
    size = graph.num_users + graph.num_items
    result = np.zeros((size, size))
    rows, columns, weights = graph.messages()
    np.add.at(result, (rows, columns), weights)
    return result


def edit(where: str = "graph_only", **changes: Any) -> PriorEdit:
    options = OmegaConf.load(config_folder() / "edit" / f"{where}.yaml")
    options.merge_with({"op": "graphda"} | CHOICES | changes)
    return build(OmegaConf.create({"edit": options}), "edit")


@pytest.mark.parametrize("threshold", [0.0, 0.5, 0.8])
def test_graph_is_that_of_dense_matrices(graph: Graph, threshold: float) -> None:
    found, expected = reselected(graph[2], **CHOICES, threshold=threshold, device=CPU), by_hand(graph[2], threshold)
    assert_allclose(dense(found), expected, rtol=1e-6)
    degree = expected.sum(axis=1)
    scale = np.divide(1, np.sqrt(degree), out=np.zeros_like(degree), where=degree > 0)
    operator = bipartite_operator(found).to_dense().numpy()
    assert_allclose(operator, scale[:, None] * expected * scale, rtol=1e-5, atol=1e-7)


def test_no_links_where_none_are_chosen(graph: Graph) -> None:
    options = CHOICES | {"k_among_users": 0, "k_among_items": 0}
    found = dense(reselected(graph[2], **options, threshold=0.5, device=CPU))
    users = graph[0].num_users
    assert not found[:users, :users].any()
    assert not found[users:, users:].any()


def test_supervision_stays_and_held_out_pairs_are_taken_out_with_their_weights(graph: Graph) -> None:
    train, held_out, prior = graph
    proposal = edit()(train, lambda: prior, seed=0, cache=Cache(None), device=CPU)
    edited = proposal.apply(train, held_out=held_out)
    assert edited.supervision is train.supervision
    expected = by_hand(prior, 0.5)
    new = np.setdiff1d(held_out.keys, train.supervision.keys)
    users, items = np.divmod(new, train.num_items)
    assert expected[users, train.num_users + items].any()
    expected[users, train.num_users + items] = expected[train.num_users + items, users] = 0
    assert_allclose(dense(edited.propagation), expected, rtol=1e-6)
    leaking = edit(exclude_heldout=False)(train, lambda: prior, seed=0, cache=Cache(None), device=CPU).apply(
        train, held_out=held_out
    )
    assert_allclose(dense(leaking.propagation), by_hand(prior, 0.5), rtol=1e-6)


def test_removed_and_added_pairs_say_what_changed(graph: Graph) -> None:
    train, _, prior = graph
    proposal = edit()(train, lambda: prior, seed=0, cache=Cache(None), device=CPU)
    pairs = np.flatnonzero(by_hand(prior, 0.5)[: train.num_users, train.num_users :])
    assert_array_equal(proposal.added.keys, np.setdiff1d(pairs, train.supervision.keys))
    assert_array_equal(proposal.removed.keys, np.setdiff1d(train.supervision.keys, pairs))


def test_a_pruned_graph_keeps_weights_and_links(graph: Graph) -> None:
    whole = reselected(graph[2], **CHOICES, threshold=0.5, device=CPU)
    part = sample_edges(whole, drop_fraction=0.4, rng=np.random.default_rng(0))
    assert isinstance(part, WeightedEdges)
    expected, kept = dense(whole), dense(Edges.from_keys(part.keys, part.num_users, part.num_items))
    users = whole.num_users
    expected[:users, users:] *= kept[:users, users:]
    expected[users:, :users] *= kept[users:, :users]
    assert_allclose(dense(part), expected)


def test_options_of_other_operations_are_no_part_of_its_identity() -> None:
    assert describe(edit(ratio=0.3)) == describe(edit())
    for key, value in {"k_user": 9, "k_among_users": 0, "k_among_items": 1, "threshold": 0.2}.items():
        assert describe(edit(**{key: value})) != describe(edit())
        if key != "k_user":
            assert describe(edit(op="complete", **{key: value})) == describe(edit(op="complete"))


@pytest.mark.parametrize("where", ["train_only", "both"])
def test_refused_before_data_are_read_where_the_supervision_would_change(where: str) -> None:
    with pytest.raises(ValueError, match="edit.op=graphda and edit.op=reweigh edit message edges, not positives"):
        make("edit.op=graphda", f"edit={where}")


def test_a_job_trains_over_the_selected_graph_and_keeps_its_positives() -> None:
    options = (f"edit.{name}={value}" for name, value in CHOICES.items())
    job, base = Watched("edit=graph_only", "edit.op=graphda", *options, "corruption.eta_e=0.2"), Watched()
    assert isinstance(job.train.propagation, WeightedEdges)
    assert not job.train.supervision.same_as(base.train.supervision)  # noise is there to stay
    assert_array_equal(job.keys(1), job.train.supervision.keys)
    assert 0 < job.result.diagnostics["edit/pruned"] < len(job.train.supervision)
    assert job.result.diagnostics["edit/added"] > 0
