"""The user-item operator, its layer means, and edges drawn by degree."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from torch.testing import assert_close

from trustmm.graph.bipartite import (
    bipartite_operator,
    incidence,
    layer_mean,
    neighbour_mean_operator,
    row_mean_operator,
    sample_edges,
    user_item_operator,
)
from trustmm.graph.edges import Edges
from trustmm.graph.pruned import PrunedGraph
from trustmm.graph.weighted import WeightedEdges
from trustmm.seeding import stream

NUM_USERS, NUM_ITEMS, WIDTH = 17, 29, 3
NUM_NODES = NUM_USERS + NUM_ITEMS


def make_edges(seed: int = 0) -> Edges:
    """Random pairs; the last user and the last two items have none."""
    keys = np.random.default_rng(seed).permutation(NUM_USERS * NUM_ITEMS)
    keys = keys[(keys // NUM_ITEMS < NUM_USERS - 1) & (keys % NUM_ITEMS < NUM_ITEMS - 2)][:80]
    return Edges.from_keys(np.sort(keys), NUM_USERS, NUM_ITEMS)


def dense_operator(edges: Edges) -> torch.Tensor:
    block = torch.zeros(NUM_USERS, NUM_ITEMS, dtype=torch.float64)
    block[edges.users, edges.items] = 1
    full = torch.zeros(NUM_NODES, NUM_NODES, dtype=torch.float64)
    full[:NUM_USERS, NUM_USERS:], full[NUM_USERS:, :NUM_USERS] = block, block.T
    degree = full.sum(1)
    scale = torch.where(degree > 0, degree, torch.inf) ** -0.5
    return scale[:, None] * full * scale


def nodes() -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(1).standard_normal((NUM_NODES, WIDTH)))


def dense_layer_mean(operator: torch.Tensor, layer: torch.Tensor, num_layers: int) -> torch.Tensor:
    return sum(torch.linalg.matrix_power(operator, power) @ layer for power in range(num_layers + 1)) / (num_layers + 1)


def test_operator_equals_the_dense_normalised_adjacency() -> None:
    edges = make_edges()
    found = bipartite_operator(edges)
    assert_close(found.to_dense().double(), dense_operator(edges), rtol=1e-6, atol=1e-8)
    assert found.transpose is found
    isolated = [NUM_USERS - 1, NUM_NODES - 1, NUM_NODES - 2]
    assert_close(found.to_dense()[isolated], torch.zeros(3, NUM_NODES))


def test_means_and_sums_over_neighbours_equal_dense_ones_and_are_zero_without_any() -> None:
    edges, dense = make_edges(), torch.zeros(NUM_NODES, NUM_NODES)
    rows, columns, weights = edges.messages()
    dense[rows, columns] = torch.from_numpy(weights)
    assert_close(neighbour_mean_operator(edges).to_dense(), dense / dense.sum(dim=1, keepdim=True).clamp_min(1))
    assert_close(incidence(edges).to_dense(), dense[:NUM_USERS, NUM_USERS:])


@pytest.mark.parametrize("num_layers", range(5))
def test_layer_mean_equals_matrix_powers(num_layers: int) -> None:
    operator = bipartite_operator(make_edges()).double()
    expected = dense_layer_mean(operator.to_dense(), nodes(), num_layers)
    assert_close(layer_mean(operator, nodes(), num_layers), expected)


@pytest.mark.parametrize(
    ("drop", "kept"), [(0.0, 80), (0.25, 60), (0.5, 40), (0.8, 16), (0.9, 8), (0.95, 4), (0.99, 0), (1.0, 0)]
)
def test_sampling_keeps_the_exact_number_of_distinct_edges(drop: float, kept: int) -> None:
    edges = make_edges()
    found = sample_edges(edges, drop_fraction=drop, rng=stream(0, "drop"))
    assert len(found) == kept
    assert len(np.unique(found.keys)) == len(found)
    assert edges.contains(found.keys).all()


def test_one_kept_edge_follows_the_inverse_root_of_the_degrees() -> None:
    """With a budget of one the probability is the weight over the sum of weights: every edge within 4.5 sigma."""
    edges = Edges.of([0, 0, 0, 0, 0, 0, 1, 2, 3, 4], [0, 1, 2, 3, 4, 5, 0, 0, 0, 6], 5, 7)
    weight = (edges.user_degree[edges.users] * edges.item_degree[edges.items]) ** -0.5
    expected = weight / weight.sum()
    rng, draws = stream(0, "degree"), 6000
    counts = np.zeros(len(edges))
    for _ in range(draws):
        kept = sample_edges(edges, drop_fraction=0.9, rng=rng)
        counts[np.searchsorted(edges.keys, kept.keys)] += 1
    assert counts.sum() == draws
    sigma = np.sqrt(draws * expected * (1 - expected))
    assert np.abs((counts - draws * expected) / sigma).max() < 4.5
    assert expected.max() > 4 * expected.min()


def test_several_kept_edges_follow_successive_draws_without_replacement() -> None:
    """Two of four edges: P(first, then second) = w1 / W * w2 / (W - w1), summed over both orders."""
    edges = Edges.of([0, 0, 0, 1], [0, 1, 2, 0], 2, 3)
    weight = (edges.user_degree[edges.users] * edges.item_degree[edges.items]) ** -0.5
    total, rng, draws = weight.sum(), stream(1, "degree"), 6000
    counts: dict[tuple[int, int], int] = {}
    for _ in range(draws):
        pair = tuple(np.searchsorted(edges.keys, sample_edges(edges, drop_fraction=0.5, rng=rng).keys))
        counts[pair] = counts.get(pair, 0) + 1
    for first in range(4):
        for second in range(first + 1, 4):
            one, two = weight[first], weight[second]
            expected = one / total * two / (total - one) + two / total * one / (total - two)
            sigma = np.sqrt(draws * expected * (1 - expected))
            assert abs(counts.get((first, second), 0) - draws * expected) < 4.5 * sigma


def test_sampling_repeats_for_equal_streams() -> None:
    edges = make_edges()
    first, again, other = (sample_edges(edges, drop_fraction=0.5, rng=stream(seed, "drop")) for seed in (0, 0, 1))
    assert_array_equal(first.keys, again.keys)
    assert not np.array_equal(first.keys, other.keys)


def test_sampling_without_regard_to_degrees_keeps_all_edges_alike() -> None:
    users, items = np.arange(10), np.append(np.zeros(9, dtype=np.int64), 1)
    edges, rng = Edges.of(users, items, 10, 2), np.random.default_rng(0)
    kept = [sample_edges(edges, drop_fraction=0.85, rng=rng, by_degree=False).users[0] for _ in range(1000)]
    np.testing.assert_allclose(np.bincount(kept, minlength=10) / 1000, 0.1, atol=0.04)


def test_a_pruned_graph_draws_anew_each_epoch_and_is_normalised_by_itself() -> None:
    edges = make_edges()
    graph, rng = PrunedGraph(edges, drop_fraction=0.5).double(), np.random.default_rng(0)
    assert graph.kept is graph.all
    drawn = []
    for _ in range(2):
        graph.begin_epoch(rng)
        found = graph.kept.to_dense()
        kept = Edges.of(*found[:NUM_USERS, NUM_USERS:].nonzero().T.numpy(), NUM_USERS, NUM_NODES - NUM_USERS)
        assert len(kept) == len(edges) // 2
        assert_close(found, dense_operator(kept), rtol=1e-6, atol=1e-8)
        drawn.append(kept)
    assert not drawn[0].same_as(drawn[1])
    assert_close(graph.all.to_dense(), dense_operator(edges), rtol=1e-6, atol=1e-8)


def test_weights_of_pairs_count_in_means_as_in_the_normalised_adjacency() -> None:
    edges = Edges.of([0, 0, 1, 2], [0, 1, 1, 2], 4, 3)
    weights = np.array([1, 0.5, 0.25, 2], dtype=np.float32)
    nobody = np.empty(0, dtype=np.int64)
    graph = WeightedEdges(edges.users, edges.items, 4, 3, weights, (nobody, nobody, np.empty(0, dtype=np.float32)))
    rated = torch.zeros(4, 3)
    rated[torch.from_numpy(edges.users), torch.from_numpy(edges.items)] = torch.from_numpy(weights)
    both = torch.zeros(7, 7)
    both[:4, 4:], both[4:, :4] = rated, rated.T
    total = both.sum(dim=1, keepdim=True)
    assert_close(neighbour_mean_operator(graph).to_dense(), both / total.clamp_min(1e-9))
    assert_close(row_mean_operator(graph).to_dense(), (both + torch.eye(7)) / (total + 1))
    user_sum, item_sum = rated.sum(dim=1, keepdim=True), rated.sum(dim=0)
    assert_close(user_item_operator(graph).to_dense(), rated / (user_sum * item_sum).sqrt().clamp_min(1e-9))
