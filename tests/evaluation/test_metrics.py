"""Metrics by hand, by a naive implementation, and against the public reference's numbers."""

import math
from pathlib import Path

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from trustmm.backbone.base import Embeddings
from trustmm.evaluation.full_ranking import FullRanking
from trustmm.evaluation.metrics import NAMES, mean_metrics, per_user_metrics
from trustmm.graph.edges import Edges

PROPERTY = settings(derandomize=True, deadline=None, max_examples=60, database=None)


def test_metrics_equal_a_computation_by_hand() -> None:
    """User 1 has three items at ranks 0, 3 and 9, user 4 one at rank 2; lists of 2 and 5."""
    held_out = Edges.of([1, 1, 1, 4], [6, 2, 8, 0], 5, 10)
    found = per_user_metrics(held_out, np.array([9, 0, 3, 2]), [2, 5])
    log3, log4, log5 = (math.log2(number) for number in (3, 4, 5))
    expected = {
        "recall@2": [1 / 3, 0],
        "precision@2": [1 / 2, 0],
        "ndcg@2": [1 / (1 + 1 / log3), 0],
        "map@2": [1 / 2, 0],
        "hit@2": [1, 0],
        "recall@5": [2 / 3, 1],
        "precision@5": [2 / 5, 1 / 5],
        "ndcg@5": [(1 + 1 / log5) / (1 + 1 / log3 + 1 / log4), 1 / log4],
        "map@5": [(1 + 2 / 4) / 3, 1 / 3],
        "hit@5": [1, 1],
    }
    assert sorted(found) == sorted(expected)
    for name, values in expected.items():
        assert_allclose(found[name], values, err_msg=name)


def naive(ranks: list[int], k: int) -> dict[str, float]:
    relevant = [1 if rank in ranks else 0 for rank in range(k)]
    ideal = sum(1 / math.log2(rank + 2) for rank in range(min(k, len(ranks))))
    precisions = [sum(relevant[: rank + 1]) / (rank + 1) for rank in range(k) if relevant[rank]]
    return {
        "recall": sum(relevant) / len(ranks),
        "ndcg": sum(flag / math.log2(rank + 2) for rank, flag in enumerate(relevant)) / ideal,
        "precision": sum(relevant) / k,
        "map": sum(precisions) / min(k, len(ranks)),
        "hit": float(any(relevant)),
    }


@PROPERTY
@given(seed=st.integers(0, 9999), cutoffs=st.lists(st.integers(1, 40), min_size=1, max_size=4, unique=True))
def test_metrics_equal_a_naive_implementation(seed: int, cutoffs: list[int]) -> None:
    rng = np.random.default_rng(seed)
    held_out = Edges.from_keys(np.sort(rng.permutation(17 * 29)[: rng.integers(1, 120)]), 17, 29)
    by_user = {int(user): rng.permutation(29)[: held_out.user_degree[user]] for user in np.unique(held_out.users)}
    ranks = np.concatenate([by_user[user] for user in sorted(by_user)])

    found = per_user_metrics(held_out, ranks, cutoffs)

    assert list(found) == [f"{name}@{k}" for k in cutoffs for name in NAMES]
    for k in cutoffs:
        expected = [naive(by_user[user].tolist(), k) for user in sorted(by_user)]
        for name in NAMES:
            assert_allclose(found[f"{name}@{k}"], [user[name] for user in expected], rtol=1e-12, err_msg=name)


def test_metrics_lie_between_zero_and_one_at_the_extremes() -> None:
    held_out = Edges.of([0, 0, 0], [1, 2, 3], 1, 9)
    best = per_user_metrics(held_out, np.array([2, 0, 1]), [3])
    worst = per_user_metrics(held_out, np.array([8, 7, 6]), [3])
    assert {name: value[0] for name, value in best.items()} == dict.fromkeys(best, 1.0)
    assert {name: value[0] for name, value in worst.items()} == dict.fromkeys(worst, 0.0)


def test_nobody_to_evaluate_gives_empty_columns() -> None:
    nothing = Edges.from_keys(np.empty(0, dtype=np.int64), 3, 4)
    assert all(len(values) == 0 for values in per_user_metrics(nothing, np.empty(0, dtype=np.int64), [2]).values())


def test_mean_metrics_weigh_every_user_alike() -> None:
    assert mean_metrics({"recall@10": np.array([0.0, 1.0, 0.5])}) == {"recall@10": 0.5}


def test_metrics_oracle_means_at_every_cutoff(oracle_folder: Path) -> None:
    with np.load(oracle_folder / "metrics.npz") as stored, np.load(oracle_folder / "inputs.npz") as inputs:
        oracle = {name: stored[name] for name in stored.files}
        shape = tuple(int(size) for size in inputs["shape"])
        train = Edges.of(inputs["train_user"], inputs["train_item"], *shape)
    test = Edges.of(oracle["test_user"], oracle["test_item"], *shape)
    cutoffs = list(range(1, len(oracle["recall_at"]) + 1))
    protocol = FullRanking(cutoffs=cutoffs, filter="clean", metrics={}, batch_size=7)
    evaluator = protocol.evaluator(test, {"clean": train}, torch.device("cpu"))

    scores = evaluator(Embeddings(torch.from_numpy(oracle["scores"]), torch.eye(shape[1])))

    for k in cutoffs:
        for name in ("recall", "ndcg", "precision", "map"):
            found = scores.means[f"{name}@{k}"]
            assert_allclose(found, oracle[f"{name}_at"][k - 1], rtol=1e-9, err_msg=f"{name}@{k}")
        micro = (scores.per_user["clean"][f"recall@{k}"] * test.user_degree[scores.users]).sum() / len(test)
        assert_allclose(micro, oracle["recall2_at"][k - 1], rtol=1e-9)
