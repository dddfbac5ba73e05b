"""Steps 2 and 3 against dense float64 algebra written out here, and the limits that the mathematics promises."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from trustmm.graph import neighbours
from trustmm.rectifier.matching import Matching, row_normalised, sinkhorn, sparse_affinity
from trustmm.rectifier.mr import mix
from trustmm.rectifier.projection import Projections

PROPERTY = settings(derandomize=True, deadline=None, max_examples=25, database=None)
NUM_ITEMS, WIDTH = 29, 6

Array = NDArray[np.float64]


def draw(seed: int, num_items: int = NUM_ITEMS, width: int = WIDTH) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(seed)
    pair = rng.standard_normal((2, num_items, width)).astype(np.float32)
    return torch.from_numpy(pair[0]), torch.from_numpy(pair[1])


def dense_cosine(anchors: torch.Tensor, projected: torch.Tensor) -> Array:
    left, right = anchors.double().numpy(), projected.double().numpy()
    lengths = np.linalg.norm(left, axis=1)[:, None] * np.linalg.norm(right, axis=1)
    return np.divide(left @ right.T, lengths, out=np.zeros_like(lengths), where=lengths > 0)


def dense_affinity(similarity: Array, k: int, tau: float, support: str) -> Array:
    chosen = np.argsort(-similarity, axis=1, kind="stable")[:, :k]
    pattern = np.eye(len(similarity), dtype=bool)
    np.put_along_axis(pattern, chosen, True, axis=1)
    if support == "symmetric":
        pattern |= pattern.T
    return np.where(pattern, np.exp(similarity / tau), 0.0)


def dense_sinkhorn(affinity: Array, num_sweeps: int, eps: float) -> Array:
    v = np.ones(len(affinity))
    for _ in range(num_sweeps):
        u = 1 / (affinity @ v + eps)
        v = 1 / (affinity.T @ u + eps)
    return u[:, None] * affinity * v


def dense(matching: Matching) -> Array:
    plan = np.zeros((matching.affinity.num_items,) * 2)
    plan[matching.affinity.rows.numpy(), matching.affinity.columns.numpy()] = matching.log_plan.exp().numpy()
    return plan


@PROPERTY
@given(
    seed=st.integers(0, 999),
    k=st.integers(1, NUM_ITEMS),
    tau=st.sampled_from([0.05, 0.1, 0.3, 1.0]),
    support=st.sampled_from(["paper", "symmetric"]),
)
def test_affinity_equals_dense_top_k_with_diagonal(seed: int, k: int, tau: float, support: str) -> None:
    anchors, projected = draw(seed)

    affinity = sparse_affinity(anchors, projected, k=k, tau=tau, support=support)

    found = np.zeros((NUM_ITEMS, NUM_ITEMS))
    found[affinity.rows.numpy(), affinity.columns.numpy()] = affinity.log_values.exp().numpy()
    assert_allclose(found, dense_affinity(dense_cosine(anchors, projected), k, tau, support), rtol=1e-4)


def test_affinity_entries_are_ordered_and_distinct() -> None:
    affinity = sparse_affinity(*draw(0), k=5, tau=0.1, support="symmetric")
    keys = affinity.rows * NUM_ITEMS + affinity.columns
    assert bool((keys[1:] > keys[:-1]).all())
    assert affinity.log_values.dtype == torch.float64
    assert_array_equal(affinity.rows[affinity.by_column].numpy(), affinity.rows.numpy()[affinity.by_column.numpy()])
    by_column = affinity.columns[affinity.by_column]
    assert bool((by_column[1:] >= by_column[:-1]).all())
    assert_array_equal(affinity.row_offsets.diff().numpy(), np.bincount(affinity.rows.numpy(), minlength=NUM_ITEMS))
    counts = np.bincount(affinity.columns.numpy(), minlength=NUM_ITEMS)
    assert_array_equal(affinity.column_offsets.diff().numpy(), counts)


def test_affinity_does_not_depend_on_the_block_size(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = sparse_affinity(*draw(1), k=4, tau=0.1, support="paper")
    monkeypatch.setattr(neighbours, "BLOCK_ENTRIES", 7 * NUM_ITEMS)
    blocks = sparse_affinity(*draw(1), k=4, tau=0.1, support="paper")
    assert_array_equal(whole.columns.numpy(), blocks.columns.numpy())
    assert_allclose(whole.log_values.numpy(), blocks.log_values.numpy())


def test_affinity_with_more_candidates_than_items_is_refused() -> None:
    with pytest.raises(ValueError, match=r"k must be in \[1, 29\].*got 30"):
        sparse_affinity(*draw(0), k=NUM_ITEMS + 1, tau=0.1, support="paper")


@PROPERTY
@given(
    seed=st.integers(0, 999),
    k=st.integers(1, NUM_ITEMS),
    tau=st.sampled_from([0.1, 0.3, 1.0]),
    num_sweeps=st.integers(1, 20),
    eps=st.sampled_from([0.0, 1e-8, 1e-3, 1.0]),
)
def test_sinkhorn_equals_dense_sweeps(seed: int, k: int, tau: float, num_sweeps: int, eps: float) -> None:
    anchors, projected = draw(seed)
    affinity = sparse_affinity(anchors, projected, k=k, tau=tau, support="paper")

    matching = sinkhorn(affinity, num_sweeps=num_sweeps, eps=eps)

    expected = dense_sinkhorn(dense_affinity(dense_cosine(anchors, projected), k, tau, "paper"), num_sweeps, eps)
    assert_allclose(dense(matching), expected, rtol=1e-4)
    assert_allclose(matching.row_mass().numpy(), expected.sum(1), rtol=1e-4)
    assert_allclose(matching.column_mass().numpy(), expected.sum(0), rtol=1e-4)
    assert_allclose(matching.diagonal().numpy(), np.diag(expected), rtol=1e-4)
    assert_allclose(matching.matrix().to_dense().numpy(), expected, rtol=2e-4, atol=1e-30)
    assert matching.num_sweeps == num_sweeps


def test_large_eps_loses_mass_as_the_formula_says() -> None:
    """At eps 10 the unshifted denominators matter: a shifted eps would give other numbers."""
    anchors, projected = draw(2)
    affinity = sparse_affinity(anchors, projected, k=3, tau=0.5, support="paper")
    expected = dense_sinkhorn(dense_affinity(dense_cosine(anchors, projected), 3, 0.5, "paper"), 5, 10.0)
    assert_allclose(dense(sinkhorn(affinity, num_sweeps=5, eps=10.0)), expected, rtol=1e-4)
    assert expected.sum() < 0.9 * NUM_ITEMS


def test_row_normalised_is_a_softmax_over_each_row() -> None:
    anchors, projected = draw(3)
    expected = dense_affinity(dense_cosine(anchors, projected), 5, 0.1, "paper")
    expected /= expected.sum(1, keepdims=True)

    matching = row_normalised(sparse_affinity(anchors, projected, k=5, tau=0.1, support="paper"))

    assert_allclose(dense(matching), expected, rtol=1e-4)
    assert_allclose(matching.row_mass().numpy(), 1, rtol=1e-12)
    assert matching.num_sweeps == 0


@pytest.mark.parametrize("tau", [0.01, 0.05, 0.2, 1.0])
@pytest.mark.parametrize("k", [1, 2, 17, NUM_ITEMS])
def test_plan_is_finite_and_never_above_one_in_column_mass(tau: float, k: int) -> None:
    anchors, projected = draw(4)
    projected[3] = anchors[5] = 0
    projected[7] = -anchors[7]
    affinity = sparse_affinity(anchors, projected, k=k, tau=tau, support="paper")
    matching = sinkhorn(affinity, num_sweeps=50, eps=1e-8)
    assert np.isfinite(dense(matching)).all()
    assert matching.column_mass().max() <= 1 + 1e-9
    assert np.isfinite(dense(row_normalised(affinity))).all()


def test_zero_rows_have_similarity_zero_and_keep_their_diagonal() -> None:
    anchors, projected = draw(5)
    anchors[2] = projected[2] = 0
    affinity = sparse_affinity(anchors, projected, k=3, tau=0.1, support="paper")
    own = (affinity.rows == 2) & (affinity.columns == 2)
    assert int(own.sum()) == 1
    assert_array_equal(affinity.log_values[affinity.rows == 2].numpy(), 0)
    assert_array_equal(affinity.columns[affinity.rows == 2].numpy(), [0, 1, 2])


@pytest.mark.parametrize("tau", [0.1, 1.0])
def test_symmetric_support_converges_to_doubly_stochastic(tau: float) -> None:
    affinity = sparse_affinity(*draw(6), k=4, tau=tau, support="symmetric")
    matching = sinkhorn(affinity, num_sweeps=400, eps=0.0)
    assert_allclose(matching.row_mass().numpy(), 1, atol=1e-6)
    assert_allclose(matching.column_mass().numpy(), 1, atol=1e-6)


def test_symmetric_support_contains_the_paper_support_and_its_transpose() -> None:
    pair = draw(7)
    paper = dense(row_normalised(sparse_affinity(*pair, k=3, tau=0.1, support="paper"))) > 0
    symmetric = dense(row_normalised(sparse_affinity(*pair, k=3, tau=0.1, support="symmetric"))) > 0
    assert_array_equal(symmetric, paper | paper.T)
    assert (paper != paper.T).any()


def test_plan_approaches_the_optimal_assignment_where_the_greedy_one_is_wrong() -> None:
    rng = np.random.default_rng(2)
    anchors = rng.standard_normal((NUM_ITEMS, WIDTH))
    projected = anchors[rng.permutation(NUM_ITEMS)] + 0.6 * rng.standard_normal((NUM_ITEMS, WIDTH))
    pair = [torch.from_numpy(rows.astype(np.float32)) for rows in (anchors, projected)]
    similarity = dense_cosine(*pair)
    rows, best = linear_sum_assignment(similarity, maximize=True)
    assert (similarity.argmax(1) != best).sum() >= 5

    matching = sinkhorn(sparse_affinity(*pair, k=NUM_ITEMS, tau=0.01, support="paper"), num_sweeps=300, eps=0.0)

    assert_array_equal(dense(matching).argmax(1), best)
    assert (dense(matching) * similarity).sum() == pytest.approx(similarity[rows, best].sum(), abs=0.05)


def test_relabelling_items_permutes_the_rectified_features() -> None:
    anchors, projected = draw(9)
    features = torch.from_numpy(np.random.default_rng(0).standard_normal((NUM_ITEMS, 5)).astype(np.float32))
    order = torch.from_numpy(np.random.default_rng(1).permutation(NUM_ITEMS))

    def rectify(rows: torch.Tensor) -> torch.Tensor:
        affinity = sparse_affinity(anchors[rows], projected[rows], k=5, tau=0.1, support="paper")
        return mix(features[rows], sinkhorn(affinity, num_sweeps=50, eps=1e-8).matrix(), 0.5)

    torch.testing.assert_close(rectify(order), rectify(torch.arange(NUM_ITEMS))[order], rtol=1e-4, atol=1e-6)


def test_identical_features_under_a_permutation_are_brought_home() -> None:
    anchors, _ = draw(10, width=12)
    order = torch.from_numpy(np.random.default_rng(2).permutation(NUM_ITEMS))
    matching = sinkhorn(
        sparse_affinity(anchors, anchors[order], k=6, tau=0.02, support="paper"), num_sweeps=50, eps=1e-8
    )
    torch.testing.assert_close(mix(anchors[order], matching.matrix(), 0.0), anchors, rtol=1e-3, atol=1e-3)


def test_matching_oracle_similarity_affinity_plan_and_rectified(oracle_folder: Path) -> None:
    with np.load(oracle_folder / "mr.npz", allow_pickle=False) as stored:
        oracle = {name: stored[name] for name in stored.files}
    maps = Projections(torch.from_numpy(oracle["weight"])[None], torch.from_numpy(oracle["bias"])[None])
    features, tau, lam = torch.from_numpy(oracle["features"]), float(oracle["tau"]), float(oracle["lam"])

    affinity = sparse_affinity(
        torch.from_numpy(oracle["anchor"]), maps(features)[:, 0], k=int(oracle["k"]), tau=tau, support="paper"
    )
    matching = sinkhorn(affinity, num_sweeps=int(oracle["iterations"]), eps=float(oracle["eps"]))
    plain = row_normalised(affinity)

    rows, columns = affinity.rows.numpy(), affinity.columns.numpy()
    pattern = np.zeros_like(oracle["affinity"], dtype=bool)
    pattern[rows, columns] = True
    assert_array_equal(pattern, oracle["affinity"] > 0)
    assert_allclose(affinity.log_values.numpy() * tau, oracle["similarity"][rows, columns], rtol=1e-4, atol=1e-6)
    assert_allclose(affinity.log_values.exp().numpy(), oracle["affinity"][rows, columns], rtol=1e-4)
    assert_allclose(dense(matching), oracle["plan"], rtol=1e-4)
    assert_allclose(matching.row_mass().numpy(), oracle["row_sums"], rtol=1e-4)
    assert_allclose(matching.column_mass().numpy(), oracle["column_sums"], rtol=1e-4)
    assert_allclose(mix(features, matching.matrix(), lam).numpy(), oracle["rectified"], rtol=1e-4, atol=1e-6)
    assert_allclose(dense(plain), oracle["plan_row_normalised"], rtol=1e-4)
    rectified = mix(features, plain.matrix(), lam).numpy()
    assert_allclose(rectified, oracle["rectified_row_normalised"], rtol=1e-4, atol=1e-6)
