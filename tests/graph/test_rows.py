"""Rows of linear maps: the rows of the whole product, and gradients of many maps in one table."""

import itertools

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from trustmm.graph.bipartite import bipartite_operator, layer_mean
from trustmm.graph.edges import Edges
from trustmm.graph.rows import LayerMeanRows, ProductRows, RowMap, Take, map_rows, take
from trustmm.graph.sparse import SparseMatrix

USERS, ITEMS, WIDTH = 17, 29, 3
N = USERS + ITEMS
INDEX = torch.tensor([5, 0, 5, N - 1, USERS, USERS - 1])
ITEM_INDEX = torch.tensor([3, 3, 0, ITEMS - 1, 1])


def table() -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(1).standard_normal((N, WIDTH))).requires_grad_()


def operator() -> SparseMatrix:
    keys = np.sort(np.random.default_rng(0).permutation(USERS * ITEMS)[:80])
    return bipartite_operator(Edges.from_keys(keys, USERS, ITEMS)).double()


def item_graph() -> SparseMatrix:
    rng = np.random.default_rng(2)
    rows, columns = torch.from_numpy(rng.integers(0, ITEMS, 60)), torch.from_numpy(rng.integers(0, ITEMS, 60))
    return SparseMatrix(rows, columns, torch.from_numpy(rng.standard_normal(60)), (ITEMS, ITEMS))


def cases() -> dict[str, tuple[RowMap, object]]:
    """Every map, and the same rows by whole differentiable products."""
    graph, whole = item_graph(), operator()
    found: dict[str, tuple[RowMap, object]] = {"take": (Take(INDEX), lambda x: x[INDEX])}
    for layers in range(5):
        found[f"mean{layers}"] = (
            LayerMeanRows(whole, layers, INDEX),
            lambda x, layers=layers: layer_mean(whole, x, layers)[INDEX],
        )
    for depth in (1, 2, 3):
        power = torch.linalg.matrix_power(graph.to_dense(), depth)
        found[f"power{depth}"] = (
            ProductRows(graph, ITEM_INDEX, depth=depth, first=USERS),
            lambda x, power=power: (power @ x[USERS:])[ITEM_INDEX],
        )
    return found


CASES = cases()


@pytest.mark.parametrize(
    "names",
    [*([name] for name in CASES), *map(list, itertools.permutations(["take", "mean2", "power1"]))],
    ids="+".join,
)
def test_rows_and_gradients_equal_those_of_the_whole_products(names: list[str]) -> None:
    left, right = table(), table()
    before = left.detach().clone()
    found = map_rows(left, *(CASES[name][0] for name in names))
    expected = [CASES[name][1](right) for name in names]
    weights = [torch.linspace(-1, 2, rows.numel(), dtype=rows.dtype).view_as(rows) for rows in expected]
    sum((rows * weight).sum() for rows, weight in zip(found, weights, strict=True)).backward()
    sum((rows * weight).sum() for rows, weight in zip(expected, weights, strict=True)).backward()
    for rows, whole in zip(found, expected, strict=True):
        assert_close(rows, whole)
    assert_close(left.grad, right.grad)
    assert torch.equal(left.detach(), before)


@pytest.mark.parametrize("name", CASES)
def test_gradcheck(name: str) -> None:
    assert torch.autograd.gradcheck(lambda x: map_rows(x, CASES[name][0]), table())


def test_a_map_that_the_loss_does_not_use_adds_nothing() -> None:
    left, right = table(), table()
    map_rows(left, CASES["mean2"][0], Take(INDEX))[0].sum().backward()
    map_rows(right, CASES["mean2"][0])[0].sum().backward()
    assert_close(left.grad, right.grad)


def test_rows_of_a_matrix_that_is_not_square() -> None:
    matrix = SparseMatrix(torch.tensor([2, 0]), torch.tensor([1, 0]), torch.tensor([3.0, 2.0]), (4, 2))
    leaf = torch.ones(2, 2, requires_grad=True)
    (rows,) = map_rows(leaf, ProductRows(matrix, torch.tensor([2, 1, 2])))
    assert_close(rows, torch.tensor([[3.0, 3], [0, 0], [3, 3]]))
    rows.sum().backward()
    assert_close(leaf.grad, torch.tensor([[0.0, 0], [6, 6]]))


def test_no_rows_are_no_rows() -> None:
    leaf, none = table(), torch.empty(0, dtype=torch.int64)
    rows = map_rows(leaf, LayerMeanRows(operator(), 2, none), Take(none))
    assert [len(part) for part in rows] == [0, 0]
    take(leaf, none).sum().backward()
    assert leaf.grad is not None
    assert not leaf.grad.any()
