"""A sweep as it goes: a bar in a terminal, plain lines in a log; one line on standard output per finished job."""

import logging
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import mean

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from trustmm.store.job_folder import Stored
from trustmm.store.pivot import METRIC, Pivot
from trustmm.store.sweep_folder import varying_options
from trustmm.sweep.engine import Outcome, Task, cell_name

log = logging.getLogger(__name__)


@contextmanager
def show_sweep(tasks: Sequence[Task]) -> Iterator["SweepView"]:
    """Show every job that ends, and at the end what failed and why."""
    console = Console(stderr=True)
    with _bars(console) as bars:
        view = SweepView(tasks, bars, console)
        try:
            yield view
        finally:
            view.tell(f"{view.ended - len(view.failed)} of {len(tasks)} jobs finished, {view.seconds:.0f} s")
            if view.failed:
                width = None if console.is_terminal else 200
                Console(stderr=True, width=width).print(failure_table(view.failed, view.names))


class SweepView:
    """What somebody who watches a sweep sees.

    Args:
        tasks: all of the sweep.
        bars: hidden where there is no terminal.
        console: for lines above the bars.
    """

    def __init__(self, tasks: Sequence[Task], bars: Progress, console: Console) -> None:
        self.names = short_names(tasks)
        self.failed: list[tuple[Task, Outcome]] = []
        self.ended, self._started = 0, time.monotonic()
        self._bars, self._console, self._bar = bars, console, bars.add_task("jobs", total=len(tasks))

    @property
    def seconds(self) -> float:
        """Since the first job could start."""
        return time.monotonic() - self._started

    def __call__(self, task: Task, outcome: Outcome, stored: Stored | None, *, reused: bool) -> None:
        """A job ended; `stored` is its result, `reused` says that it had before this sweep."""
        self.ended += 1
        if outcome.status != "FINISHED":
            self.failed.append((task, outcome))
        what = "reused" if reused else outcome.status.lower()
        line = stored.line if outcome.status == "FINISHED" and stored is not None else ""
        why = f": {line or outcome.reason}" if line or outcome.reason else ""
        self.tell(f"job {self.ended} of {len(self.names)} {what}: {self.names[task.number]}{why}")
        if line:
            sys.stdout.write(line + "\n")
            sys.stdout.flush()
        description = f"jobs, {len(self.failed)} failed" if self.failed else "jobs"
        self._bars.update(self._bar, completed=self.ended, description=description)

    def tell(self, text: str) -> None:
        """One line: above the bar in a terminal, in the log elsewhere."""
        if self._console.is_terminal:
            self._bars.console.print(text, highlight=False, soft_wrap=True, markup=False)
        else:
            log.info("%s", text)


def say_end(folder: Path, table: Pivot | None, links: Sequence[str]) -> None:
    """The end of a sweep, on standard error: mean over seeds by what varied, best in bold, and where to look next."""
    console = Console(stderr=True)
    console.width = console.width if console.is_terminal else 120
    if table is not None:
        console.print(outcome_table(table))
    where = {"folder": str(folder), "report": f"trustmm report {folder} --out {folder / 'report'}"}
    where |= {"runs": f"{links[0]}   (after: trustmm ui)"} if links else {}
    for name, text in where.items():
        console.print(f"{name:7} {text}", highlight=False, soft_wrap=True, markup=False)


def outcome_table(table: Pivot) -> Table:
    """Mean test Recall@10 over seeds, the best of each column in bold, with letters where environments are mixed."""
    notes = "\n".join(f"environment {one}" for one in table.environments)
    shown = Table(title=f"test {METRIC}, mean over seeds", title_justify="left", caption=notes, caption_justify="left")
    shown.add_column("")
    for column in table.columns:
        shown.add_column(f"{table.axis}={column}" if table.axis else "", justify="right")
    means = {place: mean(values) for place, values in table.values.items()}
    best = {column: max(means[place] for place in means if place[1] == column) for column in table.columns}
    for line in table.lines:
        cells = []
        for column in table.columns:
            value = means.get((line, column))
            style = "bold" if value == best[column] else ""
            text = "-" if value is None else f"{value:.4f} {table.made.get((line, column), '')}".rstrip()
            cells.append(Text(text, style=style))
        shown.add_row(line, *cells)
    return shown


def short_names(tasks: Sequence[Task]) -> dict[int, str]:
    """By number: what tells a cell from the others, or all of its overrides where nothing does."""
    cells = [cell_name(task) for task in tasks]
    axes = [" ".join(f"{key}={value}" for key, value in cell.items()) for cell in varying_options(cells)]
    return {task.number: short or cell for task, short, cell in zip(tasks, axes, cells, strict=True)}


def failure_table(failed: Sequence[tuple[Task, Outcome]], names: dict[int, str]) -> Table:
    """What did not finish, and why."""
    title = f"{len(failed)} job{'s' * (len(failed) > 1)} did not finish; repeat the command to try again"
    table = Table(title=title, title_justify="left")
    for column in ("job", "cell", "status", "reason", "log"):
        table.add_column(column, overflow="fold")
    for task, outcome in failed:
        why = (outcome.status, outcome.reason, str(task.folder / "job.log"))
        table.add_row(*(Text(word) for word in (str(task.number), names[task.number], *why)))
    return table


def _bars(console: Console) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    hidden = not console.is_terminal
    return Progress(*columns, console=console, transient=True, disable=hidden, redirect_stdout=sys.stdout.isatty())
