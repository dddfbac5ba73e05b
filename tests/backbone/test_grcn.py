"""GRCN against the public reference implementation, with routing and without effect of it."""

import functools
from collections.abc import Callable

import torch
from torch.testing import assert_close

from tests.backbone.oracle import Case, Options, OracleTests
from trustmm.backbone.base import Backbone
from trustmm.backbone.grcn import GRCN


class AsReference(OracleTests):
    names = {
        "model_specific_conf": "confidence_NM",
        "id_gcn.id_embedding": "node_ND",
        "v_gcn.preference": "preferences.visual",
        "t_gcn.preference": "preferences.textual",
        "v_gcn.MLP": "projections.visual",
        "t_gcn.MLP": "projections.textual",
    }
    routing = False

    def build(self, o: Options) -> Callable[..., Backbone]:
        return functools.partial(
            GRCN,
            embedding_dim=o["embedding_size"],
            content_dim=o["latent_embedding"],
            num_routings=o["n_layers"],
            routing=self.routing,
            penalise_all=True,
            reg=o["reg_weight"],
        )


class TestWithoutRouting(AsReference):
    files = ("grcn", "grcn_visual")


class TestRouted(AsReference):
    files = ("grcn_routed",)
    routing = True

    def test_oracle_ids_travel_over_the_reliabilities_that_are_told(self, case: Case) -> None:
        targets, sources, weight = case.model.reliability()
        num_users, num_items = case.expected["scores"].shape
        dense = torch.zeros(num_users + num_items, num_users + num_items, dtype=weight.dtype)
        dense[targets, sources] = weight
        id_ND = torch.nn.functional.normalize(case.model.node_ND.detach())
        expected = id_ND + dense @ id_ND + dense @ dense @ id_ND
        case.model.eval()
        with torch.no_grad():
            found = case.model.embeddings()
        width = id_ND.shape[1]
        assert_close(torch.cat([found.user_UD, found.item_ID])[:, :width], expected)
        assert 0 < (weight == 0).sum() < len(weight)  # some interactions are not believed at all
