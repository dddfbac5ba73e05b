"""Progress of a job: a bar in a terminal, plain lines in a log."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from trustmm.training.course import CRITERION, Epoch
from trustmm.training.loop import OnEpoch

log = logging.getLogger(__name__)
LINES = 10
"""Epochs between two plain lines."""


@contextmanager
def progress() -> Iterator[OnEpoch]:
    """A callback that shows every epoch, on standard error."""
    if sys.stderr.isatty():
        with _bars() as bars:
            yield _Bar(bars)
    else:
        yield _plain_line


def _bars() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, TextColumn("{task.fields[status]}"), console=Console(stderr=True), transient=True)


def summary(epoch: Epoch, patience_left: int) -> str:
    """One line about an epoch."""
    losses = " ".join(f"{name} {value:.4f}" for name, value in epoch.losses.items())
    seconds = f"{epoch.train_seconds:.1f}+{epoch.evaluation_seconds:.1f} s"
    mark = "best" if epoch.best else f"stops in {patience_left}"
    return f"loss {losses} | valid {CRITERION} {epoch.valid[CRITERION]:.4f} ({mark}) | {seconds}"


def _plain_line(stage: str, epoch: Epoch, epochs: int, patience_left: int) -> None:
    last = patience_left <= 0 or epoch.epoch == epochs - 1
    if epoch.epoch % LINES == 0 or last:
        log.info("%s epoch %d of at most %d: %s", stage, epoch.epoch, epochs, summary(epoch, patience_left))


class _Bar:
    def __init__(self, bars: Progress) -> None:
        self.bars = bars
        self.tasks: dict[str, int] = {}

    def __call__(self, stage: str, epoch: Epoch, epochs: int, patience_left: int) -> None:
        if stage not in self.tasks:
            self.tasks[stage] = self.bars.add_task(stage, total=epochs, status="")
        status = summary(epoch, patience_left)
        self.bars.update(self.bars.tasks[self.tasks[stage]].id, completed=epoch.epoch + 1, status=status)
