"""Item graphs of what all modalities agree on, in row blocks: never an I x I matrix in memory."""

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trustmm.graph.dense import all_inner_products
from trustmm.graph.neighbours import BLOCK_ENTRIES, top_k, unit_rows


def agreeing_neighbours(
    *, features: Mapping[str, NDArray[np.float32]], k: int, device: torch.device | str
) -> dict[str, NDArray[np.int64]]:
    """For each modality the most similar of those items that every modality holds to be similar (DA-MRS).

    A pair counts where in every modality its cosine reaches the mean over all pairs, an item with itself included.

    Args:
        features: matrices (I, d_m) by modality; an item whose row is zero in any has no neighbours.
        k: neighbours of an item, at most.
        device: where the products run.

    Returns: under `NAME/rows` and `NAME/columns` the pairs of each modality, in order of rows.
    """
    units = {name: unit_rows(torch.tensor(matrix, device=device)) for name, matrix in features.items()}
    means = {name: mean_cosine(unit_ID) for name, unit_ID in units.items()}
    present = torch.stack([unit_ID.any(dim=1) for unit_ID in units.values()]).all(dim=0)
    num_items = len(present)
    found: dict[str, list[Tensor]] = {f"{name}/{part}": [] for name in units for part in ("rows", "columns")}
    block = max(1, BLOCK_ENTRIES // (len(units) * num_items))
    for start in range(0, num_items, block):
        rows = slice(start, start + block)
        cosines = {name: all_inner_products(unit_ID[rows], unit_ID) for name, unit_ID in units.items()}
        agreed_BI = present[rows, None] & present
        for name, cosine_BI in cosines.items():
            agreed_BI &= cosine_BI >= means[name]
        for name, cosine_BI in cosines.items():
            values, index = top_k(cosine_BI.masked_fill_(~agreed_BI, -torch.inf), min(k, num_items))
            row, place = (values > -torch.inf).nonzero(as_tuple=True)
            found[f"{name}/rows"].append(row + start)
            found[f"{name}/columns"].append(index[row, place])
    return {name: torch.cat(parts).cpu().numpy() for name, parts in found.items()}


def mean_cosine(unit_ID: Tensor) -> float:
    """Mean over all I^2 pairs of rows of length 1: the squared length of their sum, over I^2."""
    return float(unit_ID.double().sum(dim=0).square().sum()) / len(unit_ID) ** 2
