"""LightGCN against the public reference implementation."""

import functools
from collections.abc import Callable

from tests.backbone.oracle import ITEMS, USERS, Options, OracleTests
from trustmm.backbone.base import Backbone
from trustmm.backbone.lightgcn import LightGCN


class TestOracle(OracleTests):
    files = ("lightgcn",)
    names = {"embedding_dict.user_emb": USERS, "embedding_dict.item_emb": ITEMS}
    graph = {"norm_adj_matrix": lambda model: model.operator.to_dense()}

    def build(self, o: Options) -> Callable[..., Backbone]:
        return functools.partial(
            LightGCN, embedding_dim=o["embedding_size"], num_layers=o["n_layers"], reg=o["reg_weight"]
        )
