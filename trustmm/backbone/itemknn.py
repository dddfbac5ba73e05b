"""ItemKNN: items that the same users chose; the floor that collaborative models have to beat."""

import numpy as np
import torch

from trustmm.backbone.neighbourhood import Neighbourhood
from trustmm.dataset.data import TrainData
from trustmm.graph.common_items import most_alike
from trustmm.graph.neighbours import NeighbourSearch
from trustmm.graph.sparse import SparseMatrix
from trustmm.options.checks import Count, NonNegative


class ItemKNN(Neighbourhood):
    r"""Item-based nearest neighbours (Sarwar et al., WWW 2001; as in Ferrari Dacrema et al., RecSys 2019).

    .. math::
        K_{ij} = \frac{c_{ij}}{\sqrt{d_i d_j} + \mathrm{shrink}} \text{ for the k largest of each row i}, \qquad
        s_{uj} = \textstyle\sum_{i \in N(u)} K_{ij}

    with c the number of common users and d the number of users of an item. An item is among its own neighbours, as in
    ItemKNN-CBF. Nothing is trained.

    Args:
        train: its propagation edges; features are ignored.
        rng: unused, nothing is drawn.
        neighbours: keeps K, found once for these edges.
        k: neighbours of an item, at most.
        shrink: added to the denominator.
    """

    def __init__(
        self,
        train: TrainData,
        *,
        rng: np.random.Generator,
        neighbours: NeighbourSearch,
        k: Count,
        shrink: NonNegative,
    ) -> None:
        edges, shape = train.propagation, (train.num_items, train.num_items)
        found = neighbours.once(
            most_alike,
            left=edges.items,
            right=edges.users,
            size=(train.num_items, train.num_users),
            k=min(k, train.num_items),
            shrink=shrink,
        )
        rows, columns, values = (torch.from_numpy(found[name]) for name in ("node", "partner", "cosine"))
        super().__init__(train, SparseMatrix(rows, columns, values, shape))
