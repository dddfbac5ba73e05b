"""Loss terms against their formulas written out, and what the loop tells a backbone."""

import functools
from collections.abc import Mapping

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from torch import Tensor, nn
from torch.testing import assert_close

from trustmm.backbone.base import Backbone, Batch
from trustmm.backbone.lattice import LATTICE
from trustmm.backbone.lightgcn import LightGCN
from trustmm.backbone.losses import contrast, square_penalty, table_contrast
from trustmm.backbone.mgcn import MGCN
from trustmm.backbone.smore import SMORE
from trustmm.options.build import build
from trustmm.options.config import config_folder
from trustmm.training.loop import Training, train_epoch


def training(**changes: float | None) -> Training:
    options = OmegaConf.load(config_folder() / "training" / "published.yaml")
    return build(OmegaConf.create({"training": OmegaConf.merge(options, changes)}), "training")


def plain_contrast(view: Tensor, target: Tensor, temperature: float) -> Tensor:
    cosines = nn.functional.cosine_similarity(view[:, None], target[None], dim=2)
    return -(cosines / temperature).log_softmax(dim=1).diagonal().mean()


@pytest.mark.parametrize("temperature", [0.01, 0.2, 5.0])
@pytest.mark.parametrize("nodes", [1, 7, 300])
def test_contrast_counts_a_node_as_often_as_the_batch_does(nodes: int, temperature: float) -> None:
    rng = np.random.default_rng(0)
    counts = torch.from_numpy(rng.integers(1, 4, nodes))
    once = [torch.from_numpy(rng.standard_normal((nodes, 5))).requires_grad_() for _ in range(2)]
    batch = [matrix.detach().clone().requires_grad_() for matrix in once]
    found = contrast(*once, counts, temperature=temperature)
    expected = plain_contrast(*(matrix.repeat_interleave(counts, dim=0) for matrix in batch), temperature)
    assert_close(found, expected)
    (3 * found).backward()
    (3 * expected).backward()
    for matrix, same in zip(once, batch, strict=True):
        assert_close(matrix.grad, same.grad)


def test_contrast_of_zero_rows_is_finite_and_leaves_them() -> None:
    view, target = torch.zeros(4, 3, requires_grad=True), torch.eye(4, 3, requires_grad=True)
    value = contrast(view, target, torch.ones(4), temperature=0.2)
    value.backward()
    assert_close(value, torch.tensor(4.0).log())
    assert_close(view.grad, torch.zeros(4, 3))
    assert_close(target.grad, torch.zeros(4, 3))


def test_square_penalty_divides_by_twice_the_configured_size() -> None:
    parts = [torch.full((2, 3), 2.0), torch.full((2, 3), 1.0)]
    assert_close(square_penalty(*parts, configured_size=10), torch.tensor((24.0 + 6.0) / 20))


class Recorder(Backbone):
    """Notes what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.sizes = nn.Parameter(torch.ones(())), []

    def loss_terms(self, batch: Batch) -> Mapping[str, Tensor]:
        self.sizes.append((len(batch.users), batch.configured_size))
        return {"bpr": self.weight.square()}


def test_the_last_batch_knows_the_configured_size() -> None:
    model = Recorder()
    train_epoch(model, torch.optim.SGD(model.parameters(), lr=0.1), torch.zeros(3, 10, dtype=torch.int64), 4, 0)
    assert model.sizes == [(4, 4), (4, 4), (2, 4)]


@pytest.mark.parametrize(("model", "decay"), [(LATTICE, 0.96), (MGCN, 0.96), (SMORE, 0.96), (LightGCN, 1.0)])
def test_learning_rate_follows_what_was_published_unless_it_is_given(model: type[Backbone], decay: float) -> None:
    published = functools.partial(training().rate, model)
    assert published(0) == 1e-3
    assert published(50) == pytest.approx(1e-3 * decay, rel=1e-12)
    assert published(7) == pytest.approx(1e-3 * decay ** (7 / 50), rel=1e-12)
    assert training(lr_decay=1).rate(model, 100) == 1e-3
    assert training(lr_decay=0.5).rate(model, 100) == pytest.approx(2.5e-4, rel=1e-12)


@pytest.mark.parametrize("wrong", [0, 1.5, -0.1])
def test_a_decay_outside_its_range_is_refused(wrong: float) -> None:
    with pytest.raises(ValueError, match=r"training.lr_decay must be in \(0, 1\] or null, got"):
        training(lr_decay=wrong)


@pytest.mark.parametrize("nodes", [1, 7, 300])
def test_contrast_with_a_table_is_a_sum_over_the_batch_against_all_rows(nodes: int) -> None:
    rng = np.random.default_rng(0)
    view, table = (torch.from_numpy(rng.standard_normal((count, 5))).requires_grad_() for count in (nodes, 401))
    own, counts = torch.from_numpy(rng.permutation(401)[:nodes]), torch.from_numpy(rng.integers(1, 4, nodes))
    found = table_contrast(view, table, own, counts, temperature=0.2)
    logits = view.repeat_interleave(counts, dim=0) @ table.T / 0.2
    expected = nn.functional.cross_entropy(logits, own.repeat_interleave(counts), reduction="sum")
    assert_close(found, expected)
    for mine, theirs in zip(*(torch.autograd.grad(value, (view, table)) for value in (found, expected)), strict=True):
        assert_close(mine, theirs)
