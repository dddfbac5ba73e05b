"""ItemKNN-CBF: items with similar content; the floor that models with content have to beat."""

import numpy as np
import torch

from trustmm.backbone.content import side_by_side
from trustmm.backbone.neighbourhood import Neighbourhood
from trustmm.dataset.data import TrainData
from trustmm.graph.neighbours import Neighbours, NeighbourSearch, shrunk_nearest
from trustmm.graph.sparse import SparseMatrix
from trustmm.options.checks import Count, NonNegative


class ItemKNNCBF(Neighbourhood):
    r"""Content-based nearest neighbours (Ferrari Dacrema et al., RecSys 2019, https://arxiv.org/abs/1907.06902).

    .. math::
        K_{ij} = \frac{\langle x_i, x_j \rangle}{\|x_i\| \|x_j\| + \mathrm{shrink}}
        \text{ for the k largest of each row i}, \qquad s_{uj} = \textstyle\sum_{i \in N(u)} K_{ij}

    with x the concatenated raw features. An item is among its own neighbours. Nothing is trained.

    Args:
        train: a user's items are those of its propagation edges; at least one modality.
        rng: unused, nothing is drawn.
        neighbours: keeps K, found once for these features.
        k: neighbours of an item.
        shrink: added to the denominator; favours long feature rows.
    """

    needs_features = True

    def __init__(
        self,
        train: TrainData,
        *,
        rng: np.random.Generator,
        neighbours: NeighbourSearch,
        k: Count,
        shrink: NonNegative,
    ) -> None:
        found = neighbours.once(
            shrunk_nearest,
            features_ID=side_by_side(train.features),
            k=min(k, train.num_items),
            shrink=shrink,
            device=neighbours.device,
        )
        entries = Neighbours(**{name: torch.from_numpy(array) for name, array in found.items()}).entries()
        super().__init__(train, SparseMatrix(*entries, (train.num_items, train.num_items)))
