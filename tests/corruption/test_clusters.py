"""Cosine k-means: planted groups are found, zero rows have none."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from trustmm.corruption import clusters
from trustmm.corruption.clusters import NO_CONTENT, cosine_clusters

NUM_GROUPS, PER_GROUP, WIDTH = 6, 15, 8


def planted(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Rows near one of six axes, of very different lengths, in random order; and the axis of each row."""
    rng = np.random.default_rng(seed)
    group = rng.permutation(np.repeat(np.arange(NUM_GROUPS), PER_GROUP))
    rows = np.eye(WIDTH)[group] + 0.05 * rng.standard_normal((len(group), WIDTH))
    return (rows * rng.uniform(0.01, 100, (len(group), 1))).astype(np.float32), group


def same_group(label: np.ndarray) -> np.ndarray:
    return label[:, None] == label


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("block", [clusters.BLOCK, 7])
def test_planted_groups_are_found_whatever_the_length_of_rows(
    seed: int, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clusters, "BLOCK", block)
    rows, group = planted(seed)
    label = cosine_clusters(rows, NUM_GROUPS, np.random.default_rng(seed))
    assert_array_equal(same_group(label), same_group(group))
    assert set(label) == set(range(NUM_GROUPS))


def test_more_clusters_split_groups_and_never_mix_them() -> None:
    rows, group = planted()
    label = cosine_clusters(rows, 2 * NUM_GROUPS, np.random.default_rng(0))
    assert len(set(label)) > NUM_GROUPS
    assert (same_group(group) | ~same_group(label)).all()


def test_rows_without_content_are_in_no_cluster() -> None:
    rows, group = planted()
    rows[[3, 50]] = 0
    label = cosine_clusters(rows, NUM_GROUPS, np.random.default_rng(0))
    assert_array_equal(np.flatnonzero(label == NO_CONTENT), [3, 50])
    rest = label != NO_CONTENT
    assert_array_equal(same_group(label[rest]), same_group(group[rest]))


def test_nothing_to_cluster_is_no_error() -> None:
    rng = np.random.default_rng(0)
    assert_array_equal(cosine_clusters(np.zeros((5, 2), dtype=np.float32), 2, rng), [NO_CONTENT] * 5)
    equal = np.ones((5, 2), dtype=np.float32)
    assert len(set(cosine_clusters(equal, 3, rng))) == 1
    assert len(set(cosine_clusters(np.eye(2, dtype=np.float32), 9, rng))) == 2


def test_equal_streams_give_equal_clusters_and_the_rows_stay() -> None:
    rows, _ = planted()
    before = rows.copy()
    first, again = (cosine_clusters(rows, 9, np.random.default_rng(3)) for _ in range(2))
    assert_array_equal(first, again)
    assert_array_equal(rows, before)


@pytest.mark.parametrize("scale", [1e-30, 1e-24, 1e19, 1e30])
def test_clusters_are_the_same_at_every_scale(scale: float) -> None:
    rows, _ = planted()
    some = np.where(np.arange(len(rows)) % 2 == 0, 2.0 ** np.round(np.log2(scale)), 1)[:, None]
    found, expected = (cosine_clusters(x.astype("f4"), 9, np.random.default_rng(3)) for x in (rows * some, rows))
    assert_array_equal(found, expected)
    assert (found != NO_CONTENT).all()
