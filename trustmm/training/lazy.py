"""Adam for tables of which a batch reads few rows: the others are brought up to date when they are read next."""

from typing import Any

import torch
from torch import Tensor, nn

from trustmm.graph.rows import RowTable, Take, map_rows, take

CHUNK_ENTRIES = 1 << 17
"""Entries of a table that are worked on at a time, so that the passes over them stay in the cache."""
EAGER_STEPS = 100
"""First steps, which are Adam's own."""
WORTH = 8
"""Times the rows of a step that a table must have, for whom updating only these is faster."""
CURRENT = torch.tensor([[1.0], [1.0], [0.0], [0.0], [0.0], [0.0]], dtype=torch.float64)
"""Of a row that has missed no step: factors of m and v, and the sums of w u, w u^2, w u^3 and w u^4."""
TINY = 1e-30
"""In place of a sum of 0 that divides."""


class LazyAdam:
    r"""Adam's steps (Kingma & Ba, ICLR 2015) on a table, a row at a time, as if every step moved every row.

    A row without a gradient still moves, by its momentum. After steps s+1 to t without one, Adam has subtracted

    .. math::  \sum_{j=1}^{t-s} \frac{w_j u_j\, m}{\sqrt{v} + \epsilon u_j},
               \qquad w_j = \frac{\gamma \beta_1^j}{1-\beta_1^{s+j}},\quad u_j = \sqrt{1-\beta_2^{s+j}}\;\beta_2^{-j/2}

    from it, with m and v of step s. As w falls tenfold in 22 steps, in which u hardly changes, two terms stand for the
    sum: Gauss's quadrature for the weights w_j u_j. It is exact where epsilon is nothing beside the root of v, and
    elsewhere to 1e-5 of the sum after 100 steps and to 1e-6 after 300; the first 100 are Adam's own. Its nodes depend
    on s alone, by sums that each step adds a term to.

    So a step costs what its rows cost, and the table has no gradient of its own size; but a row costs eight times as
    much as in the fused Adam. A step reads a table once.

    Args:
        table: (N, D); only `take` reads it in training.
        optimizer: a torch Adam that holds the table, whose options and state count; its step is followed by one here.
    """

    def __init__(self, table: RowTable, optimizer: torch.optim.Optimizer) -> None:
        self.table, self.optimizer = table, optimizer
        self.group = next(g for g in optimizer.param_groups if any(each is table for each in g["params"]))
        self.pending: tuple[Tensor, Tensor] | None = None
        self._start()
        optimizer.register_step_post_hook(self._step)

    def _start(self) -> None:
        """All rows are up to date."""
        self.last_N = torch.zeros(len(self.table), dtype=torch.int64, device=self.table.device)
        self.missed = CURRENT.to(self.table.device)

    @property
    def state(self) -> dict[str, Any]:
        """Of Adam: step and moments."""
        return self.optimizer.state[self.table]

    def rows(self, index: Tensor) -> Tensor:
        """Rows `index` (B,) as of now, (B, D); their gradient goes into the next step.

        Raises: RuntimeError if rows were read before in this step.
        """
        if self.state.get("step", 0) < EAGER_STEPS:
            return map_rows(self.table, Take(index))[0]
        if self.pending is not None:
            raise RuntimeError("a table of rows is read once a step, by one call of `take`, and this is the second")
        distinct, place = index.unique(return_inverse=True)
        rows_RD = self._current(distinct).requires_grad_()
        self.pending = distinct, rows_RD
        return rows_RD if len(distinct) == len(index) and torch.equal(distinct, index) else take(rows_RD, place)

    @torch.no_grad()
    def settle(self) -> None:
        """Bring all rows up to date."""
        if self.missed.shape[1] > 1:
            behind = (self.last_N < self.missed.shape[1] - 1).nonzero()[:, 0]
            first_R1, second_R1 = self._decays(behind)
            for part in self._chunks(behind):
                rows, state = behind[part], self.state
                self.table.index_copy_(0, rows, self._current(rows))
                state["exp_avg"].index_copy_(0, rows, state["exp_avg"].index_select(0, rows).mul_(first_R1[part]))
                state["exp_avg_sq"].index_copy_(
                    0, rows, state["exp_avg_sq"].index_select(0, rows).mul_(second_R1[part])
                )
            self._start()

    @torch.no_grad()
    def _current(self, index: Tensor) -> Tensor:
        """Distinct rows as Adam would have them by now."""
        rows_RD = self.table.index_select(0, index)
        if self.missed.shape[1] == 1:
            return rows_RD
        terms = self._terms(index)
        for part in self._chunks(index):
            first_RD, second_RD = (self.state[name].index_select(0, index[part]) for name in ("exp_avg", "exp_avg_sq"))
            second_RD.sqrt_()
            for scale_R1, epsilon_R1 in terms:
                divisor_RD = torch.addcmul(epsilon_R1[part], second_RD, scale_R1[part])
                rows_RD[part].addcdiv_(first_RD, divisor_RD, value=-1)
        return rows_RD

    @torch.no_grad()
    def _step(self, *_: Any) -> None:
        pending, self.pending = self.pending, None
        if self.table.grad is not None and self.state["step"] > EAGER_STEPS:
            raise RuntimeError("a table of rows was read other than by `take`, so its rows were not up to date")
        if pending is None or pending[1].grad is None:
            return
        index, rows_RD, gradient_RD = pending[0], pending[1].detach(), pending[1].grad
        (beta1, beta2), rate, state = self.group["betas"], self.group["lr"], self.state
        state["step"] += 1
        bias, unit = 1 - beta1 ** float(state["step"]), (1 - beta2 ** float(state["step"])) ** 0.5
        first_R1, second_R1 = self._decays(index)
        for part in self._chunks(index):
            rows, gradient = index[part], gradient_RD[part]
            first_CD = state["exp_avg"].index_select(0, rows).mul_(beta1 * first_R1[part])
            first_CD.add_(gradient, alpha=1 - beta1)
            second_CD = state["exp_avg_sq"].index_select(0, rows).mul_(beta2 * second_R1[part])
            second_CD.addcmul_(gradient, gradient, value=1 - beta2)
            state["exp_avg"].index_copy_(0, rows, first_CD)
            state["exp_avg_sq"].index_copy_(0, rows, second_CD)
            divisor_CD = second_CD.sqrt_().add_(self.group["eps"] * unit)
            self.table.index_copy_(0, rows, rows_RD[part].addcdiv_(first_CD, divisor_CD, value=-rate * unit / bias))
        self.last_N.index_fill_(0, index, self.missed.shape[1])
        self._count(rate / bias, unit)

    def _count(self, rate: float, unit: float) -> None:
        """One more step that rows may miss."""
        (beta1, beta2), (decay1, decay2, *sums) = self.group["betas"], self.missed
        decay1, decay2 = beta1 * decay1, beta2 * decay2
        units = unit * decay2.rsqrt()
        sums = [total + rate * decay1 * units**power for power, total in enumerate(sums, start=1)]
        self.missed = torch.cat([torch.stack([decay1, decay2, *sums]), CURRENT.to(decay1)], dim=1)

    def _decays(self, index: Tensor) -> Tensor:
        """By what the moments of the rows are to be multiplied, (2, R, 1)."""
        return self.missed[:2, self.last_N.index_select(0, index)].to(self.table.dtype)[:, :, None]

    def _terms(self, index: Tensor) -> Tensor:
        """For both terms of the rows, what the root of v is multiplied by, and what is added to it, (2, 2, R, 1)."""
        first, second, third, fourth = self.missed[2:]
        total = first.clamp_min(TINY)
        mean = torch.where(first > 0, second / total, 1.0)
        variance = (third / total - mean**2).clamp_min(1e-12)
        half = (fourth / total - 3 * mean * third / total + 2 * mean**3) / (2 * variance)
        root = (half**2 + variance).sqrt()
        shares = torch.stack([total * (root - half), total * (root + half)]) / (2 * root)
        units = torch.stack([mean + half + root, mean + half - root])
        scales = 1 / shares.clamp_min(TINY)
        found = torch.stack([scales, self.group["eps"] * units * scales], dim=1)
        return found[:, :, self.last_N.index_select(0, index)].to(self.table.dtype)[..., None]

    def _chunks(self, index: Tensor) -> list[slice]:
        rows = max(1, CHUNK_ENTRIES // self.table.shape[1])
        return [slice(start, start + rows) for start in range(0, len(index), rows)]


def follow(model: nn.Module, optimizer: torch.optim.Optimizer, step_rows: int) -> None:
    """Let a plain Adam update a model's tables of rows lazily, where they are large for steps of so many rows.

    Any other optimiser treats them as other parameters.
    """
    plain = type(optimizer) is torch.optim.Adam and not any(
        group[name] for group in optimizer.param_groups for name in ("amsgrad", "maximize", "weight_decay")
    )
    for table in model.parameters():
        if isinstance(table, RowTable):
            worth = plain and table.requires_grad and len(table) >= WORTH * step_rows
            table.reader = LazyAdam(table, optimizer) if worth else None


def settle(model: nn.Module) -> None:
    """Bring all tables of rows up to date, for whoever reads them as a whole."""
    for table in model.parameters():
        if isinstance(table, RowTable) and table.reader is not None:
            table.reader.settle()
