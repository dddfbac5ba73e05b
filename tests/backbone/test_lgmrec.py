"""LGMRec against the public reference implementation, which draws noise when it ranks, too."""

import functools
from collections.abc import Callable

from tests.backbone.oracle import NODES, Case, Options, OracleTests
from trustmm.backbone.base import Backbone
from trustmm.backbone.lgmrec import LGMRec


class TestOracle(OracleTests):
    files = ("lgmrec",)
    names = NODES | {
        "item_image_trs": "projections.visual",
        "item_text_trs": "projections.textual",
        "v_hyper": "hyperedges.visual",
        "t_hyper": "hyperedges.textual",
    }
    graph = {"norm_adj": lambda model: model.operator.to_dense()}

    def build(self, o: Options) -> Callable[..., Backbone]:
        return functools.partial(
            LGMRec,
            embedding_dim=o["embedding_size"],
            num_layers=o["n_ui_layers"],
            num_content_layers=o["n_mm_layers"],
            num_hyperedges=o["hyper_num"],
            num_hyper_layers=o["n_hyper_layer"],
            keep=o["keep_rate"],
            alpha=o["alpha"],
            temperature=0.2,
            cl=o["cl_weight"],
            reg=o["reg_weight"],
            noisy_ranking=True,
        )

    def test_oracle_scores_without_noise(self, case: Case) -> None:
        case.model.noisy_ranking = False
        self.assert_scores(case, "scores_zero_noise")
