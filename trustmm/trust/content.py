"""What content says about who wants an item: a second witness beside clicks, as far as its features are believed."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trustmm.dataset.data import Features
from trustmm.graph.edges import Edges
from trustmm.seeding import stream
from trustmm.trust.mismatch import Trust
from trustmm.trust.views import CROSS, principal_coordinates, unit

log = logging.getLogger(__name__)
# Shapes: U users, I items, C coordinates.


@dataclass(frozen=True, eq=False)
class Content:
    """What the items are in one modality, and how far that is believed."""

    rows_IC: NDArray[np.float32]
    """Of length 1."""
    believed_I: NDArray[np.float64]
    """1 - g: the probability that the feature is the item's own; 0 where nothing is known of it."""


def believed_content(features: Features, trust: Mapping[str, Trust], seed: int) -> dict[str, Content]:
    """The leading principal coordinates of every modality of which something can be believed.

    Args:
        features: one matrix (I, X) per modality, as observed.
        trust: in every modality.
        seed: of the principal directions.
    """
    found = {}
    for name, matrix in sorted(features.items()):
        believed_I = 1 - np.nan_to_num(trust[name].probability, nan=1.0)
        if believed_I.any():
            coordinates_IC = principal_coordinates(matrix, stream(seed, "trust", "content", name))[:, :CROSS]
            rows_IC = unit(coordinates_IC)
            found[name] = Content(rows_IC, np.where(rows_IC.any(axis=1), believed_I, 0.0))
    if not found:
        log.info("edit: none of the features can be believed, so edges are judged by clicks alone")
    return found


def profiles(edges: Edges, content: Content) -> NDArray[np.float32]:
    """The content that each user chose, a sum over the items, each less the more users chose it, (U, C).

    An item counts as far as it is believed. The inner product of a profile with an item's content tells how well that
    fits; the scale is of no account.
    """
    from trustmm.prior.spectral import normalised  # brings SciPy, which a job without such an edit does not need

    matrix, _ = normalised(edges)
    found: NDArray[np.float32] = matrix @ (content.rows_IC * content.believed_I[:, None].astype(np.float32))
    return found
