"""Exact neighbours against a brute-force search in float64."""

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from trustmm.graph import neighbours
from trustmm.graph.neighbours import cosine_neighbours, moderate_rows, top_k, top_products, unit_rows

PROPERTY = settings(
    derandomize=True,
    deadline=None,
    max_examples=50,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
NUM_ITEMS = 29


def exact_rows(seed: int, num_items: int = NUM_ITEMS) -> np.ndarray:
    """Rows with four entries of +-1: cosines are exact in float32, many are equal, some rows are repeated or zero."""
    rng = np.random.default_rng(seed)
    rows = np.zeros((num_items, 9), dtype=np.float32)
    for row in rows:
        row[rng.permutation(9)[:4]] = rng.choice([-1, 1], 4)
    rows[rng.permutation(num_items)[:8]] = rows[0]
    rows[rng.permutation(num_items)[:3]] = 0
    return rows


def brute(features: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Index, similarity and links; a row without content comes last and is linked to nothing."""
    features = features.astype(np.float64)
    lengths = np.linalg.norm(features, axis=1)
    unit = features / np.where(lengths > 0, lengths, 1)[:, None]
    content = lengths > 0
    similarity = unit @ unit.T
    order = np.argsort(-np.where(content, similarity, -np.inf), axis=1, kind="stable")[:, :k]
    linked = content[:, None] & content[order]
    return order, np.where(linked, np.take_along_axis(similarity, order, 1), 0), linked


@PROPERTY
@given(seed=st.integers(0, 9999), k=st.integers(1, NUM_ITEMS), rows=st.sampled_from([1, 4, 28, 29, 100]))
def test_neighbours_equal_brute_force_with_ties_to_the_smaller_index(
    seed: int, k: int, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(neighbours, "BLOCK_ENTRIES", rows * NUM_ITEMS)
    features = exact_rows(seed)
    index, similarity, linked = brute(features, k)

    found = cosine_neighbours(features, k=k)

    assert_array_equal(found.linked.numpy(), linked)
    assert_array_equal(found.index.numpy()[linked], index[linked])
    assert_allclose(found.similarity.numpy(), similarity, atol=1e-6)


@pytest.mark.parametrize("k", [1, 10, 61])
def test_neighbours_of_real_valued_rows_have_the_largest_similarities(k: int) -> None:
    features = np.random.default_rng(0).standard_normal((61, 7)).astype(np.float32)
    found = cosine_neighbours(features, k=k)
    index, similarity, _ = brute(features, k)
    assert_allclose(found.similarity.numpy(), similarity, atol=1e-6)
    assert_array_equal(found.index.numpy(), index)
    assert (similarity < 0).any() == (k == 61)
    assert found.similarity.dtype == torch.float32
    assert found.index.dtype == torch.int64


def test_a_row_is_its_own_best_neighbour_and_the_best_come_first() -> None:
    features = np.random.default_rng(1).standard_normal((NUM_ITEMS, 5)).astype(np.float32)
    found = cosine_neighbours(features, k=6)
    assert_array_equal(found.index[:, 0].numpy(), np.arange(NUM_ITEMS))
    assert bool((found.similarity[:, 1:] <= found.similarity[:, :-1]).all())


def test_length_of_a_row_does_not_count() -> None:
    features = exact_rows(2)
    scaled = features * np.linspace(0.5, 64, NUM_ITEMS, dtype=np.float32).round()[:, None].clip(1)
    expected, found = cosine_neighbours(features, k=5), cosine_neighbours(scaled, k=5)
    assert_allclose(found.similarity.numpy(), expected.similarity.numpy(), atol=1e-6)


def test_rows_without_content_have_no_edge_in_or_out() -> None:
    features = np.random.default_rng(3).standard_normal((NUM_ITEMS, 5)).astype(np.float32)
    features[[0, 4]] = 0
    found = cosine_neighbours(features, k=NUM_ITEMS)
    rows, columns, similarity = found.entries()
    assert not {0, 4} & set(rows.tolist())
    assert not {0, 4} & set(columns.tolist())
    assert len(rows) == (NUM_ITEMS - 2) ** 2
    assert_array_equal(found.similarity.numpy()[[0, 4]], 0)
    assert bool((rows[1:] >= rows[:-1]).all())
    assert_allclose(similarity.numpy(), found.similarity[found.linked].numpy())


def test_zero_matrix_has_no_entries() -> None:
    found = cosine_neighbours(np.zeros((5, 3), dtype=np.float32), k=2)
    assert len(found.entries()[0]) == 0
    assert bool(torch.isfinite(found.similarity).all())


def test_neighbours_leave_the_features() -> None:
    features = exact_rows(4)
    before = features.copy()
    cosine_neighbours(features, k=3)
    assert_array_equal(features, before)


@pytest.mark.parametrize("k", [0, -1, NUM_ITEMS + 1])
def test_k_out_of_range_is_refused(k: int) -> None:
    with pytest.raises(ValueError, match=rf"k must be in \[1, 29\], the number of items, got {k}"):
        cosine_neighbours(exact_rows(0), k=k)


@PROPERTY
@given(seed=st.integers(0, 9999), width=st.integers(1, 200), levels=st.sampled_from([5, 1000]), data=st.data())
def test_top_k_equals_a_stable_sort(
    monkeypatch: pytest.MonkeyPatch, seed: int, width: int, levels: int, data: st.DataObject
) -> None:
    monkeypatch.setattr(neighbours, "GROUP_COLUMNS", 3)
    k = data.draw(st.integers(1, width))
    scores = torch.from_numpy(np.random.default_rng(seed).integers(-2, levels - 2, (6, width)).astype(np.float32))
    scores[scores == -2] = -torch.inf
    before = scores.clone()
    values, index = top_k(scores, k)
    expected = np.argsort(-scores.numpy(), axis=1, kind="stable")[:, :k]
    assert_array_equal(index.numpy(), expected)
    assert_array_equal(values.numpy(), np.take_along_axis(scores.numpy(), expected, 1))
    assert torch.equal(scores, before)


def test_one_of_two_equals_at_the_last_place_leaves_the_order() -> None:
    values, index = top_k(torch.tensor([[1.0, 3.0, 2.0, 1.0], [4.0, torch.nan, 0.0, 0.0]]), 3)
    assert_array_equal(index.numpy(), [[1, 2, 0], [1, 0, 2]])
    assert_array_equal(values.numpy(), [[3, 2, 1], [np.nan, 4, 0]])


def test_top_products_of_other_queries_than_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "BLOCK_ENTRIES", 3 * NUM_ITEMS)
    rng = np.random.default_rng(5)
    queries, keys = (torch.from_numpy(rng.integers(-3, 4, (rows, 4)).astype(np.float32)) for rows in (17, NUM_ITEMS))
    values, index = top_products(queries, keys, 4)
    products = (queries @ keys.T).numpy()
    expected = np.argsort(-products, axis=1, kind="stable")[:, :4]
    assert_array_equal(index.numpy(), expected)
    assert_array_equal(values.numpy(), np.take_along_axis(products, expected, 1))


def test_top_products_choose_allowed_keys_first() -> None:
    queries, keys = torch.tensor([[1.0]]), torch.tensor([[4.0], [3.0], [2.0], [1.0]])
    allowed = torch.tensor([False, True, False, True])
    values, index = top_products(queries, keys, 4, allowed=allowed)
    assert index.tolist() == [[1, 3, 0, 2]]
    assert values.tolist() == [[3.0, 1.0, -torch.inf, -torch.inf]]


def test_unit_rows_keep_zero_rows_with_finite_gradients() -> None:
    rows = torch.tensor([[3.0, 4.0], [0.0, 0.0]], requires_grad=True)
    unit = unit_rows(rows)
    unit.sum().backward()
    torch.testing.assert_close(unit.detach(), torch.tensor([[0.6, 0.8], [0.0, 0.0]]))
    assert bool(torch.isfinite(rows.grad).all())


SCALES = [1e-30, 1e-24, 1e-12, 1.0, 1e12, 1e19, 1e30]


@pytest.mark.parametrize("scale", SCALES)
def test_unit_rows_and_their_gradient_are_right_at_any_scale(scale: float) -> None:
    exact = scale * np.random.default_rng(0).standard_normal((9, 5))
    rows = torch.tensor(exact.astype(np.float32), requires_grad=True)
    weight = torch.linspace(-1, 2, 45).reshape(9, 5)
    unit = unit_rows(rows)
    (unit * weight).sum().backward()
    reference = torch.tensor(exact, requires_grad=True)
    expected = reference / reference.norm(dim=1, keepdim=True)
    (expected * weight).sum().backward()
    torch.testing.assert_close(unit.detach(), expected.detach().float())
    torch.testing.assert_close(rows.grad * scale, (reference.grad * scale).float(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("of", ["all", "some"])
def test_neighbours_are_the_same_at_every_scale(scale: float, of: str) -> None:
    features = np.random.default_rng(0).integers(-9, 10, (41, 6)).astype(np.float32)
    features[7] = 0
    factor = 2.0 ** np.round(np.log2(scale)) * (1 if of == "all" else np.arange(41)[:, None] % 3 == 0)
    scaled = (features * np.where(factor > 0, factor, 1)).astype(np.float32)
    found, expected = cosine_neighbours(scaled, k=5), cosine_neighbours(features, k=5)
    for name in ("index", "similarity", "linked"):
        assert torch.equal(getattr(found, name), getattr(expected, name))
    assert int(found.linked.sum()) > 150


@pytest.mark.parametrize("scale", [1e-44, 3e38])
def test_the_ends_of_float32_have_content(scale: float) -> None:
    features = np.array([[scale, 0], [0, scale], [scale / 2, scale]], dtype=np.float32)
    found = cosine_neighbours(features, k=2)
    assert bool(found.linked.all())
    assert found.index[2].tolist() == [2, 1]


def test_moderate_rows_keep_what_is_moderate_and_the_direction_of_what_is_not() -> None:
    rows = torch.tensor([[3.0, -4.0], [3e20, -4e20], [3e-20, -4e-20], [0.0, 0.0], [1e-9, 1e9]])
    found = moderate_rows(rows)
    assert torch.equal(found[[0, 3, 4]], rows[[0, 3, 4]])
    assert bool((found[[1, 2]].abs().amax(dim=1) >= 0.5).all())
    assert bool((found[[1, 2]].abs().amax(dim=1) <= 1).all())
    torch.testing.assert_close(unit_rows(found[[1, 2]]), torch.tensor([[0.6, -0.8]]).expand(2, 2))


@pytest.mark.parametrize("k", [1, 3, 10, 60])
@pytest.mark.parametrize("kinds", [1, 4, 15])
def test_equal_rows_are_searched_once_with_the_same_neighbours(
    kinds: int, k: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ties within a kind and between kinds (rows of few small integers) go to the smaller index."""
    rng = np.random.default_rng(kinds)
    axes = np.eye(6, dtype=np.float32)[rng.integers(0, 6, kinds)] * rng.choice([1, 2, -1], (kinds, 1)).astype("f4")
    axes[0] = 0
    features = axes[rng.integers(0, kinds, 60)]
    searched = []
    inner = neighbours.unit_neighbours
    monkeypatch.setattr(neighbours, "unit_neighbours", lambda rows, k: searched.append(len(rows)) or inner(rows, k=k))
    found, expected = cosine_neighbours(features, k=k), inner(unit_rows(torch.from_numpy(features)), k=k)
    assert searched == [len(np.unique(features, axis=0))]
    assert torch.equal(found.linked, expected.linked)
    assert torch.equal(found.similarity, expected.similarity)
    assert torch.equal(found.index[found.linked], expected.index[expected.linked])


def test_kinds_are_numbered_as_they_first_occur() -> None:
    rows = np.array([[1, 2], [0, 0], [1, 2], [2, 1], [0, 0]], dtype=np.float32)
    assert neighbours.equal_rows(rows).tolist() == [0, 1, 0, 2, 1]
