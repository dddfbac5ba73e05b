"""Tables that are updated a row at a time move as under Adam's own steps."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from trustmm.graph.rows import RowTable, take
from trustmm.training import lazy as lazy_adam
from trustmm.training.lazy import follow, settle

ROWS, WIDTH, STEPS, EPOCHS = 40, 6, 90, 3


class Tables(nn.Module):
    """A table to be read by rows, and a parameter that the whole of it moves with."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.table_ND = RowTable(torch.randn(ROWS, WIDTH, generator=torch.Generator().manual_seed(0)).to(dtype))
        self.scale_D = nn.Parameter(torch.ones(WIDTH, dtype=dtype))

    def loss(self, index: Tensor, target_BD: Tensor) -> Tensor:
        """Of rows as they are now, so that a stale one shows."""
        return (take(self.table_ND, index) * self.scale_D - target_BD).square().mean()


def lazy(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """The rows of a step alone."""
    follow(model, optimizer, step_rows=1)


def trained(prepare: Callable[[nn.Module, torch.optim.Optimizer], None], dtype: torch.dtype, size: float) -> Tables:
    """Three epochs of another rate each; most steps read a few rows, some repeat one, every fifth reads none."""
    torch.manual_seed(1)
    model = Tables(dtype)
    optimizer = torch.optim.Adam(model.parameters())
    prepare(model, optimizer)
    for epoch in range(EPOCHS):
        optimizer.param_groups[0]["lr"] = 0.01 * 0.7**epoch
        for step in range(STEPS):
            optimizer.zero_grad()
            index = torch.randint(ROWS if step % 7 else 5, (8,))
            target_BD = torch.randn(8, WIDTH).to(dtype)
            loss = size * model.loss(index, target_BD) if step % 5 else model.scale_D.square().sum()
            loss.backward()
            optimizer.step()
        settle(model)
    return model


def dense(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Adam as it is."""


@pytest.mark.parametrize(("size", "tolerance"), [(1.0, 1e-12), (1e-4, 1e-11), (1e-6, 1e-7), (1e-8, 1e-6)])
def test_rows_move_as_under_adam(size: float, tolerance: float) -> None:
    """In double precision, so that what is left is the approximation, even where gradients are as small as epsilon."""
    start, expected, found = (
        Tables(torch.float64),
        trained(dense, torch.float64, size),
        trained(lazy, torch.float64, size),
    )
    moved = (expected.table_ND - start.table_ND).abs().max()
    assert moved > 1e-3
    assert (found.table_ND - expected.table_ND).abs().max() <= tolerance * moved


def test_single_precision_is_as_exact_as_rounding() -> None:
    expected, found = trained(dense, torch.float64, 1.0), trained(lazy, torch.float32, 1.0)
    assert_close(found.table_ND.double(), expected.table_ND, rtol=0, atol=2e-5)
    assert_close(found.scale_D.double(), expected.scale_D, rtol=0, atol=2e-5)


def test_the_state_is_that_of_adam() -> None:
    pairs = []
    for prepare in (dense, lazy):
        model = Tables(torch.float64)
        optimizer = torch.optim.Adam(model.parameters())
        prepare(model, optimizer)
        for number in range(120):
            optimizer.zero_grad()
            model.loss(torch.tensor([number % 30, 33]), torch.ones(2, WIDTH)).backward()
            optimizer.step()
        settle(model)
        pairs.append(optimizer.state_dict()["state"][0])
    assert pairs[0].keys() == pairs[1].keys()
    for name, value in pairs[0].items():
        assert_close(pairs[1][name], value)


def past_the_first_steps(monkeypatch: pytest.MonkeyPatch) -> tuple[Tables, torch.optim.Optimizer]:
    monkeypatch.setattr(lazy_adam, "EAGER_STEPS", 1)
    model = Tables(torch.float32)
    optimizer = torch.optim.Adam(model.parameters())
    lazy(model, optimizer)
    model.loss(torch.tensor([0]), torch.ones(1, WIDTH)).backward()
    optimizer.step()
    return model, optimizer


def test_a_table_that_is_read_as_a_whole_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    model, optimizer = past_the_first_steps(monkeypatch)
    optimizer.zero_grad()
    (model.table_ND * model.scale_D).sum().backward()
    with pytest.raises(RuntimeError, match="read other than by `take`"):
        optimizer.step()


def test_a_second_reading_in_a_step_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    model, _ = past_the_first_steps(monkeypatch)
    model.loss(torch.tensor([1]), torch.ones(1, WIDTH))
    with pytest.raises(RuntimeError, match="this is the second"):
        model.loss(torch.tensor([2]), torch.ones(1, WIDTH))


@pytest.mark.parametrize(
    "make",
    [
        lambda parameters: torch.optim.SGD(parameters, lr=0.1),
        lambda parameters: torch.optim.AdamW(parameters),
        lambda parameters: torch.optim.Adam(parameters, weight_decay=0.1),
        lambda parameters: torch.optim.Adam(parameters, amsgrad=True),
    ],
)
def test_other_optimisers_have_a_dense_gradient(make: Callable[..., torch.optim.Optimizer]) -> None:
    model = Tables(torch.float32)
    lazy(model, torch.optim.Adam(model.parameters()))
    lazy(model, make(list(model.parameters())))
    model.loss(torch.tensor([3, 3]), torch.ones(2, WIDTH)).backward()
    assert model.table_ND.grad is not None
    assert model.table_ND.grad.any(dim=1).tolist() == [row == 3 for row in range(ROWS)]


@pytest.mark.parametrize(("step_rows", "followed"), [(ROWS // 8, True), (ROWS // 8 + 1, False)])
def test_small_tables_are_left_to_adam(step_rows: int, followed: bool) -> None:
    model = Tables(torch.float32)
    follow(model, torch.optim.Adam(model.parameters()), step_rows)
    assert (model.table_ND.reader is not None) == followed
