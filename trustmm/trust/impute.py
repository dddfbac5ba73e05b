"""E[feature | what else is known of the item]: what an item's feature probably is, learned from believed ones."""

import numpy as np
from numpy.typing import NDArray

from trustmm.seeding import stream
from trustmm.trust.neighbours import ClickNeighbours
from trustmm.trust.views import principal_coordinates, products, solve_ridge, unit

Rows = NDArray[np.float32]
Floats = NDArray[np.float64]
# Shapes: n items with training edges, X feature width, D anchor width.


def neighbour_mean(rows_NX: Rows, neighbours: ClickNeighbours, belief_N: Floats) -> Rows:
    """Mean of the neighbours' rows, weighted by cosine and belief, of the usual length; zero where there is none."""
    return rescaled(neighbours.mean(rows_NX, belief_N), rows_NX, belief_N)


def ridge_prediction(
    rows_NX: Rows, anchors_ND: Rows, others: list[tuple[Rows, Floats]], belief_N: Floats, seed: int
) -> Rows:
    """Ridge regression on the anchor and the other modalities, as far as each is believed, of the usual length, (n, X).

    Args:
        rows_NX: what is predicted.
        anchors_ND: collaborative embeddings.
        others: rows and belief of each other modality.
        belief_N: how far a row is learned from.
        seed: of the principal coordinates of other modalities.
    """
    parts = [unit(anchors_ND)]
    for other_NX, other_belief_N in others:
        coordinates = principal_coordinates(other_NX, stream(seed, "trust", "impute"))
        parts.append(coordinates * other_belief_N[:, None].astype(np.float32))
    # Each part counts alike, whatever its unit.
    evidence = np.concatenate([part / max(float(np.sqrt((part**2).mean())), 1e-12) for part in parts], axis=1)
    offset, coefficients = solve_ridge(*products(evidence, rows_NX, belief_N))
    predicted = evidence @ coefficients.astype(np.float32) + offset.astype(np.float32)
    return rescaled(predicted, rows_NX, belief_N)


def rescaled(imputed_NX: Rows, rows_NX: Rows, belief_N: Floats) -> Rows:
    """Imputed rows with the mean length of believed ones: a mean of many is shorter than each."""
    length_N = np.sqrt(np.einsum("nx,nx->n", rows_NX, rows_NX, dtype=np.float64))
    usual = np.average(length_N, weights=belief_N) if belief_N.any() else 0.0
    return unit(imputed_NX) * np.float32(usual)
