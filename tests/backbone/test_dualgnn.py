"""DualGNN against the public reference implementation, with its in-place sum and without."""

import functools
from collections.abc import Callable
from typing import Any

import torch

from tests.backbone.oracle import WHOLE, Arrays, Options, OracleTests, Part
from trustmm.backbone.base import Backbone
from trustmm.backbone.dualgnn import DualGNN

TOWERS = {
    f"{letter}_gcn.{theirs}": f"towers.{modality}.{ours}"
    for letter, modality in (("v", "visual"), ("t", "textual"))
    for theirs, ours in (("preference", "preference_UC"), ("MLP", "hidden"), ("MLP_1", "output"))
}
WEIGHTS = {f"weight_{side[0]}": Part(f"weights.{side}", (WHOLE, WHOLE, None)) for side in ("user", "item")}


def set_user_graph(model: Any, drawn: Arrays) -> None:
    model.user_graph.set(torch.from_numpy(drawn["user_index"]), torch.from_numpy(drawn["user_weight"]))


def user_common(model: Any, num_users: int) -> torch.Tensor:
    """Counts of common items, dense, of a model that keeps all partners."""
    graph = model.user_graph
    dense = torch.zeros(num_users, num_users)
    users = torch.arange(num_users).repeat_interleave(torch.from_numpy(graph.lengths))
    dense[users, torch.from_numpy(graph.partner)] = torch.from_numpy(graph.count).float()
    return dense


class Clean(OracleTests):
    names = TOWERS | WEIGHTS
    graph = {"user_common": lambda model: user_common(model, model.num_users)}
    in_place_sum = False

    def build(self, o: Options) -> Callable[..., Backbone]:
        return functools.partial(
            DualGNN,
            embedding_dim=o["dim_latent"],
            k_users=10_000,  # all partners, so that their counts can be compared; the weights are handed in
            pad_users=False,
            in_place_sum=self.in_place_sum,
            reg=o["reg_weight"],
        )

    def prepare(self, model: Any, drawn: Arrays) -> None:
        set_user_graph(model, drawn)


class TestClean(Clean):
    files = ("dualgnn_clean",)


class TestInPlaceSum(Clean):
    files = ("dualgnn",)
    in_place_sum = True
