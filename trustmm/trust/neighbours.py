"""Who is near whom in clicks: an item's nearest others by the cosine of their anchors, and means over them."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from trustmm.graph.edges import IntArray
from trustmm.graph.neighbours import top_products, unit_rows

# Shapes: n items, K neighbours, X feature width.


@dataclass(frozen=True, eq=False)
class ClickNeighbours:
    """For each item its nearest others in clicks, best first; a weight of 0 is no neighbour."""

    index: IntArray
    """(n, K)."""
    weight: NDArray[np.float32]
    """Cosine of the anchors, at least 0, (n, K)."""

    def mean(self, rows_NX: NDArray[np.float32], belief_N: NDArray[np.floating]) -> NDArray[np.float32]:
        """Mean of the neighbours' rows, weighted by cosine and belief, (n, X); 0 where nobody is believed."""
        weight = self.weight * belief_N[self.index].astype(np.float32)
        total = weight.sum(axis=1, keepdims=True)
        weight /= np.where(total > 0, total, np.inf)
        index, rows, weights = (torch.from_numpy(array) for array in (self.index, rows_NX, weight))
        return F.embedding_bag(index, rows, mode="sum", per_sample_weights=weights).numpy()


def click_neighbours(
    anchors_ND: NDArray[np.float32], *, k: int, group: IntArray | None = None, device: torch.device | str = "cpu"
) -> ClickNeighbours:
    """The k nearest other items of each, by the cosine of their anchors.

    Args:
        anchors_ND: (n, D).
        k: neighbours of an item; fewer where there are not so many.
        group: (n,), from 0; an item's neighbours then come from other groups than its own.
        device: where the products run.
    """
    unit = unit_rows(torch.from_numpy(anchors_ND).to(device))
    k = min(k, len(unit) - 1)
    index, weight = np.empty((len(unit), k), dtype=np.int64), np.empty((len(unit), k), dtype=np.float32)
    if group is None:
        values, found = other_top(unit, unit, k)
        index[:], weight[:] = found.cpu().numpy(), values.cpu().numpy()
    else:
        label = torch.from_numpy(group).to(unit.device)
        for one in np.unique(group):
            values, found = top_products(unit[label == one], unit, k, allowed=label != one)
            index[group == one], weight[group == one] = found.cpu().numpy(), values.cpu().numpy()
    return ClickNeighbours(index, np.where(np.isfinite(weight), np.maximum(weight, 0), 0))


def other_top(queries_ND: Tensor, keys_ND: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """For each query the k largest inner products with keys other than its own, the one of the same row.

    Args:
        queries_ND: (n, D).
        keys_ND: (n, D).
        k: from 1 to n - 1.

    Returns: values and indices, (n, k) each, best first.
    """
    values, found = top_products(queries_ND, keys_ND, k + 1)
    own = found == torch.arange(len(found), device=found.device)[:, None]
    # The own place goes last and is cut off; where it was not found at all, the last one is.
    order = own.to(torch.int8).argsort(dim=1, stable=True)[:, :k]
    return values.gather(1, order), found.gather(1, order)
