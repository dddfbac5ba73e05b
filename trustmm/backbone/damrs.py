"""DA-MRS: item graphs of what modalities agree on, and triples weighed by how much the views believe in them."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from trustmm.backbone.base import Backbone, Batch, Embeddings
from trustmm.backbone.content import in_order, node_table
from trustmm.dataset.data import TrainData
from trustmm.graph.agreement import agreeing_neighbours
from trustmm.graph.bipartite import bipartite_operator, layer_mean
from trustmm.graph.common_items import most_in_common
from trustmm.graph.neighbours import NeighbourSearch, top_k, unit_rows
from trustmm.graph.rows import LayerMeanRows, map_rows, take
from trustmm.graph.sparse import SparseMatrices, normalised_matrix
from trustmm.options.checks import Count, NonNegative

# Shapes: those of `base`; V views of the items, J distinct items and Q distinct users of a batch, R rows of a block.

TEMPERATURE = 0.2
"""Of the discrimination of neighbours, in the reference."""
SET_SIZE = 10
"""Items in each set of neighbours, in the reference."""
EPSILON = 1e-9
"""Added to the shares before their logarithm, in the reference."""
BLOCK_ENTRIES = 1 << 21
"""Similarities with all items at a time: 8 MiB for each view, which stay near the cores (a batch on Sports takes 1.5 s;
2.5 s with 18 MiB and a sort of rows with ties)."""
BEHAVIOUR = "behaviour"


class DAMRS(Backbone):
    r"""Denoising and aligning multi-modal recommender, on LightGCN (Xv et al., KDD 2024, https://arxiv.org/abs/2406.12501).

    .. math::  s_{ui} = \langle Z_u, Z_i + \tfrac{1}{V} \textstyle\sum_v h_v \rangle, \qquad h_v = G_v^n E_i

    with Z the LightGCN mean over ids E. The views are the modalities, each with the graph of its nearest among the
    items that every modality holds to be similar (`agreeing_neighbours`), and behaviour, a graph of items bought
    together and of each item with itself; the graphs are binary and normalised. Features build graphs and are not
    used otherwise. The loss has three parts: BPR in both directions, weighed by how much the views believe in the
    positive and the negative; `neighbours`, which tells an item's nearest from the others in each view; `alignment`,
    a divergence between what Z and the views say about all users and items of the batch.

    Deviation: as in the public reference, counts of items bought together choose the edges but do not weigh them.

    Args:
        train: messages over its propagation edges; at least one modality.
        rng: stream for the initial ids.
        neighbours: keeps the item graphs, built once from the input features and the edges.
        embedding_dim: width D.
        num_layers: depth of the user-item propagation.
        num_item_layers: depth n of the item-graph propagation.
        k: neighbours of an item in each modality, at most.
        together_top: neighbours of an item in behaviour, at most.
        together_least: users who bought both that make a neighbour.
        kl: weight of the alignment.
        neighbour: weight of the discrimination of neighbours.
    """

    needs_features = True
    propagates = True

    def __init__(
        self,
        train: TrainData,
        *,
        rng: np.random.Generator,
        neighbours: NeighbourSearch,
        embedding_dim: Count,
        num_layers: Count,
        num_item_layers: Count,
        k: Count,
        together_top: Count,
        together_least: Count,
        kl: NonNegative,
        neighbour: NonNegative,
    ) -> None:
        super().__init__()
        self.num_users, self.num_layers, self.num_item_layers = train.num_users, num_layers, num_item_layers
        self.kl, self.neighbour = kl, neighbour
        self.node_ND = node_table(train, embedding_dim, rng)
        self.operator = bipartite_operator(train.propagation)
        found = neighbours.once(agreeing_neighbours, features=dict(train.features), k=k, device=neighbours.device)
        pairs = {name: (found[f"{name}/rows"], found[f"{name}/columns"]) for name in in_order(train.features)}
        pairs[BEHAVIOUR] = bought_together(train, neighbours, top=together_top, least=together_least)
        self.item_graphs = SparseMatrices()
        for name, (rows, columns) in pairs.items():
            ones = torch.ones(len(rows))
            matrix = normalised_matrix(torch.from_numpy(rows), torch.from_numpy(columns), ones, train.num_items)
            self.item_graphs[name] = matrix

    @classmethod
    def check_fit(cls, modalities: Sequence[str], **options: Any) -> None:
        """A name for the view of behaviour."""
        if BEHAVIOUR in modalities:
            raise ValueError(f"backbone=damrs calls a view of its own {BEHAVIOUR!r}; rename that modality")

    def loss_terms(self, batch: Batch) -> Mapping[str, Tensor]:
        """Weighed BPR, discrimination of neighbours, alignment."""
        users, user_place = batch.users.unique(return_inverse=True)
        items, item_place = torch.cat([batch.positives, batch.negatives]).unique(return_inverse=True)
        index = torch.cat([users, items + self.num_users])
        (mean_RD,) = map_rows(self.node_ND, LayerMeanRows(self.operator, self.num_layers, index))
        user_QD, mean_JD = mean_RD.split([len(users), len(items)])
        views = self._views()
        units = [unit_rows(view_ID) for view_ID in views]
        side_JD = torch.stack([take(view_ID, items) for view_ID in views]).mean(dim=0)
        user_BD = take(user_QD, user_place)
        positive_BD, negative_BD = take(mean_JD + side_JD, item_place).chunk(2)
        margin_B = (user_BD * (positive_BD - negative_BD)).sum(dim=1)
        win_B, lose_B = belief(user_BD.detach(), [unit_ID.detach() for unit_ID in units], batch)
        apart = discrimination(units, items) if self.neighbour else margin_B.new_zeros(())
        aligned = divergence(user_QD @ unit_rows(mean_JD).T, user_QD @ unit_rows(side_JD).T)
        return {
            "bpr": -(win_B * F.logsigmoid(margin_B) + lose_B * F.logsigmoid(-margin_B)).mean(),
            "neighbours": self.neighbour * apart,
            "alignment": self.kl * aligned,
        }

    def embeddings(self) -> Embeddings:
        """Users, and items with the mean of their views."""
        mean_ND = layer_mean(self.operator, self.node_ND, self.num_layers)
        side_ID = torch.stack(self._views()).mean(dim=0)
        return Embeddings(mean_ND[: self.num_users], mean_ND[self.num_users :] + side_ID)

    def _views(self) -> list[Tensor]:
        """h, (I, D) each."""
        views = []
        for name in self.item_graphs:
            layer_ID = self.node_ND[self.num_users :]
            for _ in range(self.num_item_layers):
                layer_ID = self.item_graphs[name] @ layer_ID
            views.append(layer_ID)
        return views


def bought_together(
    train: TrainData, neighbours: NeighbourSearch, *, top: int, least: int
) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of the behaviour graph: the items most often bought with an item, and the item itself."""
    edges, size = train.propagation, (train.num_items, train.num_users)
    found = neighbours.once(most_in_common, left=edges.items, right=edges.users, size=size, k=top, least=least)
    items = np.arange(train.num_items)
    rows = np.repeat(items, np.diff(found["offsets"]))
    return np.concatenate([rows, items]), np.concatenate([found["partner"], items])


@torch.no_grad()
def belief(user_BD: Tensor, units: Sequence[Tensor], batch: Batch) -> tuple[Tensor, Tensor]:
    """How much the views believe that each positive is one, and that each negative is one after all; (B,) each.

    Args:
        user_BD: Z of the batch's users.
        units: rows of length 1 of all items, in each view.
        batch: whose pairs are meant.
    """
    positive_VB, negative_VB = (
        torch.stack([(user_BD * unit_ID.index_select(0, items)).sum(dim=1).sigmoid() for unit_ID in units])
        for items in (batch.positives, batch.negatives)
    )
    mean_B, level = positive_VB.mean(dim=0), negative_VB.mean()
    win_B = (mean_B * torch.exp(-positive_VB.var(dim=0)) ** 2).clamp(0, 1)
    lose_B = (positive_VB.amax(dim=0) - level).clamp(0, 1)
    return win_B, torch.where(mean_B < level, lose_B, 0.0)


def divergence(left: Tensor, right: Tensor) -> Tensor:
    """Mean of KL(p, q) + KL(q, p) of Bernoulli variables with these logits: (p - q) times their difference."""
    return ((left.sigmoid() - right.sigmoid()) * (left - right)).mean()


def discrimination(units: Sequence[Tensor], items: Tensor) -> Tensor:
    """Mean over the views of how badly the nearest items of each of `items` stand out from all others, a scalar.

    Two sets are told apart, one after the other: the items nearest in all views, this one counting twice, and the
    nearest of the rest in this view. The gradient is computed with the value, some rows at a time.

    Args:
        units: rows of length 1 of all items, (I, D), in each of the V views.
        items: (J,) distinct.
    """
    return _Discrimination.apply(items, *units)


class _Discrimination(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, items: Tensor, *units: Tensor) -> Tensor:
        total, size = units[0].new_zeros(()), len(units) * len(items)
        gradients = [torch.zeros_like(unit_ID) for unit_ID in units]
        for rows in items.split(max(1, BLOCK_ENTRIES // len(units[0]))):
            cosines = [unit_ID.index_select(0, rows) @ unit_ID.T for unit_ID in units]
            growths = [cosine_RI.exp() for cosine_RI in cosines]
            scales = [growth_RI.sum(dim=1, keepdim=True).reciprocal() for growth_RI in growths]
            of_all_RI = torch.zeros_like(cosines[0])
            for growth_RI, scale_R1 in zip(growths, scales, strict=True):
                of_all_RI.addcmul_(growth_RI, scale_R1)
            views = zip(units, cosines, growths, scales, gradients, strict=True)
            for unit_ID, cosine_RI, growth_RI, scale_R1, gradient_ID in views:
                near = _nearest(torch.addcmul(of_all_RI, growth_RI, scale_R1), growth_RI)
                value, by_cosine_RI = _standing_out(cosine_RI, *near)
                total += value
                gradient_ID.addmm_(by_cosine_RI.T, unit_ID.index_select(0, rows), alpha=1 / size)
                gradient_ID.index_add_(0, rows, by_cosine_RI @ unit_ID, alpha=1 / size)
        ctx.save_for_backward(*gradients)
        return total / size

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        return None, *(gradient * by_unit_ID for by_unit_ID in ctx.saved_tensors)


def _nearest(joint_RI: Tensor, own_RI: Tensor) -> tuple[Tensor, Tensor]:
    """The two sets of each row, (R, 10) each; `own_RI`, which is positive, is overwritten."""
    size = min(SET_SIZE, own_RI.shape[1])
    _, first_RS = top_k(joint_RI, size)
    _, second_RS = top_k(own_RI.scatter_(1, first_RS, 0.0), size)
    return first_RS, second_RS


def _standing_out(cosine_RI: Tensor, first_RS: Tensor, second_RS: Tensor) -> tuple[Tensor, Tensor]:
    """Sum over the rows of -log(P1 / T) - log(P2 / (T - P1)), and its gradient in the cosines (overwritten)."""
    weight_RI = cosine_RI.div_(TEMPERATURE).exp_()
    of_first_RS, of_second_RS = (weight_RI.gather(1, near_RS) for near_RS in (first_RS, second_RS))
    first_R1, second_R1 = (w_RS.sum(dim=1, keepdim=True) for w_RS in (of_first_RS, of_second_RS))
    total_R1 = weight_RI.sum(dim=1, keepdim=True)
    rest_R1 = total_R1 - first_R1
    a_R1, b_R1 = first_R1 / total_R1 + EPSILON, second_R1 / rest_R1 + EPSILON
    by_rest_R1 = second_R1 / (b_R1 * rest_R1.square())
    by_cosine_RI = weight_RI.mul_((first_R1 / (a_R1 * total_R1.square()) + by_rest_R1) / TEMPERATURE)
    by_first_R1, by_second_R1 = 1 / (a_R1 * total_R1) + by_rest_R1, 1 / (b_R1 * rest_R1)
    by_cosine_RI.scatter_add_(1, first_RS, of_first_RS * (-by_first_R1 / TEMPERATURE))
    by_cosine_RI.scatter_add_(1, second_RS, of_second_RS * (-by_second_R1 / TEMPERATURE))
    return -(a_R1.log() + b_R1.log()).sum(), by_cosine_RI
