"""A sweep as it goes: a bar in a terminal, plain lines in a log; one line on standard output per finished job."""

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from trustmm.results import Stored
from trustmm.sweep.controller import cell_name
from trustmm.sweep.executor import Outcome, Task

log = logging.getLogger(__name__)
Show = Callable[[Task, Outcome, Stored | None, bool], None]


@contextmanager
def show_sweep(num_jobs: int) -> Iterator[Show]:
    """A callback for every job that ended: (task, outcome, its result, reused); at the end, what failed and why."""
    failed: list[tuple[Task, Outcome]] = []
    ended = 0
    started = time.monotonic()
    bars = _bars()
    bar = bars.add_task("jobs", total=num_jobs)

    def show(task: Task, outcome: Outcome, stored: Stored | None, reused: bool) -> None:
        nonlocal ended
        ended += 1
        what = "reused" if reused else outcome.status.lower()
        why = f": {outcome.reason}" if outcome.reason else ""
        log.info("job %d of %d %s: %s%s", ended, num_jobs, what, cell_name(task), why)
        if outcome.status == "FINISHED" and stored is not None:
            sys.stdout.write(stored.line + "\n")
            sys.stdout.flush()
        else:
            failed.append((task, outcome))
        bars.update(bar, completed=ended, description=f"jobs, {len(failed)} failed" if failed else "jobs")

    with bars:
        try:
            yield show
        finally:
            log.info("%d of %d jobs finished, %.0f s", ended - len(failed), num_jobs, time.monotonic() - started)
    if failed:
        Console(stderr=True).print(failure_table(failed))


def failure_table(failed: list[tuple[Task, Outcome]]) -> Table:
    """What did not finish, and why."""
    table = Table(title=f"{len(failed)} jobs did not finish", title_justify="left")
    for column in ("job", "cell", "status", "reason", "log"):
        table.add_column(column, overflow="fold")
    for task, outcome in failed:
        table.add_row(str(task.number), cell_name(task), outcome.status, outcome.reason, str(task.folder / "job.log"))
    return table


def _bars() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    console = Console(stderr=True)
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
