"""DA-MRS against the public reference implementation; its loss of neighbours against autograd."""

import functools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.testing import assert_close

from tests.backbone.oracle import NODES, Options, OracleTests
from trustmm.backbone import damrs
from trustmm.backbone.base import Backbone
from trustmm.backbone.damrs import DAMRS, discrimination, divergence
from trustmm.graph.neighbours import unit_rows


class TestOracle(OracleTests):
    files = ("damrs",)
    names = NODES
    graph = {
        "norm_adj": lambda model: model.operator.to_dense(),
        "image_adj": lambda model: model.item_graphs["visual"].to_dense(),
        "text_adj": lambda model: model.item_graphs["textual"].to_dense(),
        "session_adj": lambda model: model.item_graphs["behaviour"].to_dense(),
    }

    def build(self, o: Options) -> Callable[..., Backbone]:
        return functools.partial(
            DAMRS,
            embedding_dim=o["embedding_size"],
            num_layers=o["n_ui_layers"],
            num_item_layers=o["n_mm_layers"],
            k=o["knn_k"],
            together_top=o["item_graph_top"],
            together_least=o["item_graph_least"],
            kl=o["kl_weight"],
            neighbour=o["neighbor_weight"],
        )


@pytest.mark.parametrize("block", [3, 100])
def test_neighbours_are_told_apart_as_by_the_formula_whatever_the_blocks(
    block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(damrs, "BLOCK_ENTRIES", 41 * block)
    generator = torch.Generator().manual_seed(0)
    tables = [torch.randn(41, 6, generator=generator, dtype=torch.float64).requires_grad_() for _ in range(3)]
    items = torch.tensor([0, 3, 4, 11, 17, 29, 40])
    found = discrimination([unit_rows(table) for table in tables], items)
    gradients = torch.autograd.grad(found, tables)
    expected = by_formula([unit_rows(table) for table in tables], items)
    assert_close(found, expected)
    assert_close(gradients, torch.autograd.grad(expected, tables))


def by_formula(units: list[torch.Tensor], items: torch.Tensor) -> torch.Tensor:
    cosines = [unit[items] @ unit.T for unit in units]
    shares = [cosine.softmax(dim=1).detach() for cosine in cosines]
    terms: list[Any] = []
    for cosine, share in zip(cosines, shares, strict=True):
        first = (sum(shares) + share).topk(10, dim=1).indices
        second = share.scatter(1, first, 0.0).topk(10, dim=1).indices
        weight = (cosine / 0.2).exp()
        total, p1, p2 = weight.sum(dim=1), weight.gather(1, first).sum(dim=1), weight.gather(1, second).sum(dim=1)
        terms.append(-(p1 / total + 1e-9).log() - (p2 / (total - p1) + 1e-9).log())
    return torch.stack(terms).mean()


def test_divergence_is_that_of_bernoulli_variables_and_finite_for_large_logits() -> None:
    left, right = torch.tensor([0.3, -2.0]), torch.tensor([1.1, 0.5])
    p, q = torch.distributions.Bernoulli(logits=left), torch.distributions.Bernoulli(logits=right)
    kl = torch.distributions.kl_divergence
    assert_close(divergence(left, right), (kl(p, q) + kl(q, p)).mean())
    assert divergence(torch.tensor([200.0]), torch.tensor([-200.0])).item() == 400


def test_a_modality_called_behaviour_is_refused() -> None:
    with pytest.raises(ValueError, match="calls a view of its own 'behaviour'"):
        DAMRS.check_fit(["behaviour", "visual"])
