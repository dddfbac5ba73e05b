"""What all modalities agree on, against dense matrices."""

import numpy as np
import pytest

from trustmm.graph import agreement
from trustmm.graph.agreement import agreeing_neighbours

NUM_ITEMS, BLANK = 29, 5


@pytest.mark.parametrize("entries", [agreement.BLOCK_ENTRIES, 2 * NUM_ITEMS * 3])
@pytest.mark.parametrize("k", [1, 4, 100])
def test_neighbours_are_the_nearest_of_those_above_the_mean_everywhere(
    entries: int, k: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agreement, "BLOCK_ENTRIES", entries)
    rng = np.random.default_rng(0)
    features = {m: rng.standard_normal((NUM_ITEMS, width)).astype(np.float32) for m, width in (("a", 5), ("b", 7))}
    features["a"][BLANK] = 0
    units = {m: x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12) for m, x in features.items()}
    cosines = {m: x @ x.T for m, x in units.items()}
    agreed = np.all([cosine >= cosine.mean() for cosine in cosines.values()], axis=0)
    agreed[BLANK], agreed[:, BLANK] = False, False
    found = agreeing_neighbours(features=features, k=k, device="cpu")
    for name, cosine in cosines.items():
        pairs = set(zip(found[f"{name}/rows"].tolist(), found[f"{name}/columns"].tolist(), strict=True))
        masked = np.where(agreed, cosine, -np.inf)
        expected = {
            (row, int(column))
            for row in range(NUM_ITEMS)
            for column in np.argsort(-masked[row], kind="stable")[:k]
            if agreed[row, column]
        }
        assert pairs == expected
        assert len(pairs) == len(found[f"{name}/rows"])
