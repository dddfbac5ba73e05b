"""Planted data: anchors are the items' taste, features are noisy views of it, some of them somebody else's."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from trustmm.graph.edges import Edges

WIDTHS = {"visual": 24, "textual": 16}


@dataclass(frozen=True)
class Planted:
    """Items with a known answer."""

    edges: Edges
    anchors: NDArray[np.float32]
    clean: dict[str, NDArray[np.float32]]
    features: dict[str, NDArray[np.float32]]
    touched: dict[str, NDArray[np.bool_]]


def plant(
    eta: float, *, seed: int = 0, num_items: int = 3000, noise: float = 1.0, cold: int = 0, **eta_of: float
) -> Planted:
    """Exactly floor(eta * items) of each modality's features are permuted among themselves."""
    rng = np.random.default_rng([seed, 7])
    kind = rng.standard_normal((60, 12))[rng.integers(0, 60, num_items)]
    taste = kind + 0.7 * rng.standard_normal((num_items, 12))
    anchors = (taste + 0.5 * rng.standard_normal(taste.shape)).astype(np.float32)
    degree = np.minimum(1 + rng.geometric(0.15, num_items - cold), 40)
    items = np.repeat(np.arange(num_items - cold), degree)
    keys = np.unique(rng.integers(0, 4000, len(items)) * num_items + items)
    clean, features, touched = {}, {}, {}
    for name, width in WIDTHS.items():
        view = rng.standard_normal((12, width)) / np.sqrt(12)
        clean[name] = (taste @ view + noise * rng.standard_normal((num_items, width))).astype(np.float32)
        chosen = rng.permutation(num_items)[: int(eta_of.get(name, eta) * num_items)]
        features[name], touched[name] = clean[name].copy(), np.zeros(num_items, dtype=bool)
        features[name][chosen] = clean[name][rng.permutation(chosen)]
        touched[name][chosen] = True
    return Planted(Edges.from_keys(keys, 4000, num_items), anchors, clean, features, touched)


@pytest.fixture
def planted() -> Any:
    """The recipe `plant`."""
    return plant
