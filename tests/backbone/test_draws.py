"""What a step draws, and what a backbone makes of it."""

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from tests.backbone.oracle import FixedDraws
from trustmm.backbone.base import Backbone
from trustmm.backbone.draws import Draws


def make(rng: int = 0) -> Draws:
    return Draws(np.random.default_rng(rng))


def test_draws_have_the_laws_that_they_promise() -> None:
    draws, size = make(), (400, 250)
    keep = draws.keep("a", size, 0.3)
    assert set(keep.unique().tolist()) == {0.0, 1.0}
    assert keep.mean().item() == pytest.approx(0.7, abs=0.01)
    normal, gumbel = draws.normal("b", size), draws.gumbel("c", size)
    assert (normal.mean().item(), normal.std().item()) == pytest.approx((0, 1), abs=0.02)
    assert (gumbel.mean().item(), gumbel.std().item()) == pytest.approx((0.5772, np.pi / 6**0.5), abs=0.02)
    assert keep.dtype == normal.dtype == gumbel.dtype == torch.float32
    uniform = [draws.uniform("d") for _ in range(2000)]
    assert 0 <= min(uniform) < 0.01 < 0.99 < max(uniform) < 1


@pytest.mark.parametrize(("rate", "share"), [(0.0, 1.0), (1.0, 0.0)])
def test_a_rate_at_the_end_of_its_range_keeps_all_or_nothing(rate: float, share: float) -> None:
    assert make().keep("a", (300, 300), rate).mean() == share


def test_dropout_scales_what_it_keeps_and_does_nothing_in_evaluation() -> None:
    model, x = Backbone(), torch.arange(1.0, 7).reshape(2, 3).double()
    model.draws = FixedDraws({"mask": torch.tensor([[1.0, 0, 1], [0, 0, 1]])})
    assert_close(model.drop("mask", x, 0.75), torch.tensor([[4.0, 0, 12], [0, 0, 24]]).double())
    assert model.drop("unknown", x, 0.0) is x
    model.eval()
    assert model.drop("unknown", x, 0.75) is x


def test_dropout_of_everything_leaves_zeros() -> None:
    model = Backbone()
    model.draws = make()
    assert_close(model.drop("mask", torch.ones(3, 4), 1.0), torch.zeros(3, 4))


def test_rows_of_a_table_take_their_rows_of_a_mask_that_is_handed_in() -> None:
    model, rows = Backbone(), torch.tensor([4, 1])
    mask = torch.from_numpy(np.random.default_rng(0).integers(0, 2, (5, 3)).astype(np.float32))
    model.draws = FixedDraws({"mask": mask})
    assert_close(model.drop("mask", torch.ones(2, 3), 0.5, rows), 2 * mask[rows])
