"""BPR-MF against the public reference implementation."""

import functools
from collections.abc import Callable

from tests.backbone.oracle import Options, OracleTests
from trustmm.backbone.base import Backbone
from trustmm.backbone.bpr import BPRMF


class TestOracle(OracleTests):
    files = ("bpr",)
    names = {"user_embedding.weight": "user_UD", "item_embedding.weight": "item_ID"}

    def build(self, o: Options) -> Callable[..., Backbone]:
        return functools.partial(BPRMF, embedding_dim=o["embedding_size"], reg=o["reg_weight"])
