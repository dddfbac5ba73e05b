"""Suspects exchange their features: transport restricted to them."""

import numpy as np
import torch
from numpy.typing import NDArray

from trustmm.rectifier.matching import Affinity, sinkhorn
from trustmm.trust.neighbours import other_top
from trustmm.trust.views import unit

Rows = NDArray[np.float32]
# Shapes: s suspects, X feature width.
CANDIDATES = 20
TEMPERATURE = 0.05
SWEEPS = 50


def rematched(expected_SX: Rows, rows_SX: Rows) -> Rows:
    """Soft transport of the suspects' rows among them, each to where it is expected, never to its own item, (s, X).

    Source: optimal transport of mismatched pairs (L2RM, CVPR 2024), restricted to suspects.

    Args:
        expected_SX: what each suspect's row probably is.
        rows_SX: the suspects' rows as observed, at least 2.
    """
    centre = rows_SX.mean(axis=0)
    expected, rows = (torch.from_numpy(unit(part - centre)) for part in (expected_SX, rows_SX))
    values, index = other_top(expected, rows, min(CANDIDATES, len(rows) - 1))
    index, order = index.sort(dim=1)
    items = torch.arange(len(rows))[:, None].expand_as(index)
    logits = values.gather(1, order).double() / TEMPERATURE
    affinity = Affinity(items.flatten(), index.flatten(), logits.flatten(), len(rows))
    plan = sinkhorn(affinity, num_sweeps=SWEEPS, eps=1e-8)
    moved = plan.matrix().multiply(torch.from_numpy(rows_SX))
    return (moved / plan.row_mass().clamp(min=1e-12)[:, None].float()).numpy()
