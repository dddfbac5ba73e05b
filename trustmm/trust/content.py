"""What an item's content says about who wants it: a second witness beside clicks, as far as its features are believed."""

import logging
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from trustmm.dataset.data import Features
from trustmm.graph.edges import Edges
from trustmm.prior.spectral import normalised
from trustmm.seeding import stream
from trustmm.trust.mismatch import Trust
from trustmm.trust.views import CROSS, principal_coordinates, unit

log = logging.getLogger(__name__)
Floats = NDArray[np.float32]
# Shapes: U users, I items, C coordinates.


def believed_content(features: Features, trust: Mapping[str, Trust], seed: int) -> Floats | None:
    """The features' leading principal coordinates, in rows of length 1 - g for each modality, (I, C).

    An item whose feature is not believed says nothing (0) for any user or against any; None where none is believed.

    Args:
        features: one matrix (I, X) per modality, as observed.
        trust: in every modality.
        seed: of the principal directions.
    """
    parts = []
    for name, matrix in sorted(features.items()):
        believed = 1 - np.nan_to_num(trust[name].probability, nan=1.0)
        if believed.any():
            coordinates_IC = principal_coordinates(matrix, stream(seed, "trust", "content", name))[:, :CROSS]
            parts.append(unit(coordinates_IC) * believed[:, None].astype(np.float32))
    if not parts:
        log.info("edit: none of the features can be believed, so edges are judged by clicks alone")
        return None
    return np.concatenate(parts, axis=1)


def profiles(edges: Edges, content_IC: Floats) -> Floats:
    """The content that each user chose, a sum over the items, each less the more users chose it, (U, C).

    Its inner product with an item's content tells how well that fits; the scale is of no account.
    """
    matrix, _ = normalised(edges)
    found: Floats = matrix @ content_IC
    return found
