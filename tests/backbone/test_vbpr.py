"""VBPR against the public reference implementation."""

import functools
from collections.abc import Callable

from tests.backbone.oracle import Options, OracleTests
from trustmm.backbone.base import Backbone
from trustmm.backbone.vbpr import VBPR


class TestOracle(OracleTests):
    files = ("vbpr",)
    names = {"u_embedding": "user_UD", "i_embedding": "item_ID", "item_linear": "projection"}

    def build(self, o: Options) -> Callable[..., Backbone]:
        return functools.partial(VBPR, embedding_dim=o["embedding_size"], reg=o["reg_weight"])
