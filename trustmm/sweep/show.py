"""A sweep as it goes: what it will do, what runs and how long it takes, what it found.

Progress goes to standard error, as a bar with a line per running job in a terminal and as plain lines in a log. The
numbers of every finished job go to standard output, one line each.
"""

import logging
import shlex
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import mean

from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from trustmm.store.job_folder import Stored, last_epoch
from trustmm.store.pivot import METRIC, Pivot
from trustmm.sweep.engine import Outcome, Task, short_names

log = logging.getLogger(__name__)
BEAT_SECONDS = 300.0
"""Between two lines of a log about what runs, while no job ends."""
MOST_LINES = 40
"""Lines of a table that a screen shows."""


@contextmanager
def show_sweep(tasks: Sequence[Task]) -> Iterator["SweepView"]:
    """Show every job that ends, and at the end what failed and why."""
    console = Console(stderr=True)
    with _Bars(console) as bars:
        view = SweepView(tasks, bars, console)
        try:
            yield view
        finally:
            view.tell(f"{view.ended - len(view.failed)} of {len(tasks)} jobs finished, {duration(view.seconds)}")
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

    def __init__(self, tasks: Sequence[Task], bars: "_Bars", console: Console) -> None:
        self.names = short_names(tasks)
        self.failed: list[tuple[Task, Outcome]] = []
        self.ended, self._started, self._reused = 0, time.monotonic(), 0
        self._running: Callable[[], Sequence[Task]] = tuple
        self._bars, self._console = bars, console
        self._bar = bars.add_task("jobs", total=len(tasks), left="")
        bars.lines = self._lines

    @property
    def seconds(self) -> float:
        """Since the first job could start."""
        return time.monotonic() - self._started

    def begin(self, folder: Path, num_reused: int, slots: int) -> None:
        """Say what the sweep will do.

        Args:
            folder: of the sweep.
            num_reused: cells whose jobs have finished before.
            slots: jobs at a time.
        """
        self._reused, number = num_reused, len(self.names)
        todo = f"{number - num_reused} to run, {slots} at a time" if num_reused < number else "nothing to run"
        self.tell(f"{number} job{'s' * (number != 1)}: {num_reused} reused, {todo}; in {folder}")
        self._started = time.monotonic()

    def watch(self, running: Callable[[], Sequence[Task]]) -> None:
        """Show what runs at this moment, again and again."""
        self._running = running

    def beat(self) -> None:
        """No job has ended for a while: tell a log what runs."""
        if not self._console.is_terminal:
            self.tell("; ".join(self._lines()) + in_brackets(self._left))

    def __call__(self, task: Task, outcome: Outcome, stored: Stored | None, *, reused: bool) -> None:
        """A job ended; `stored` is its result, `reused` says that it had before this sweep."""
        self.ended += 1
        if outcome.status != "FINISHED":
            self.failed.append((task, outcome))
        what = "reused" if reused else outcome.status.lower()
        why = f": {outcome.reason}" if outcome.reason else ""
        left = "" if reused else self._left
        self.tell(f"job {self.ended} of {len(self.names)} {what}: {self.names[task.number]}{why}{in_brackets(left)}")
        if outcome.status == "FINISHED" and stored is not None:
            sys.stdout.write(stored.line + "\n")
            sys.stdout.flush()
        description = f"jobs, {len(self.failed)} failed" if self.failed else "jobs"
        self._bars.update(self._bar, completed=self.ended, description=description, left=left)

    @property
    def _left(self) -> str:
        return time_left(self.seconds, self.ended - self._reused, len(self.names) - self._reused)

    def _lines(self) -> list[str]:
        return [f"{self.names[task.number]}: {state_of(task)}" for task in self._running()]

    def tell(self, text: str) -> None:
        """One line: above the bar in a terminal, in the log elsewhere."""
        if self._console.is_terminal:
            self._bars.console.print(text, highlight=False, soft_wrap=True, markup=False)
        else:
            log.info("%s", text)


def state_of(task: Task) -> str:
    """How far a running job is, from the history that it writes: stage, epoch, last validation value."""
    epoch = last_epoch(task.folder)
    if epoch is None:
        return "starts"
    valid = epoch.get("valid", {}).get(METRIC)
    value = f", valid {METRIC} {valid:.4f}" if isinstance(valid, float) else ""
    return f"{'' if epoch['stage'] == 'backbone' else epoch['stage'] + ' '}epoch {epoch['epoch']}{value}"


def time_left(seconds: float, num_ended: int, number: int) -> str:
    """About how long the rest takes, at the pace so far; nothing before the first job has ended, or after the last.

    Args:
        seconds: since the first job started.
        num_ended: jobs that have ended in this time.
        number: all jobs that this command runs.
    """
    if not 0 < num_ended < number:
        return ""
    return f"about {duration(seconds / num_ended * (number - num_ended))} left"


def in_brackets(text: str) -> str:
    """What follows a sentence, if there is anything."""
    return f" ({text})" if text else ""


def duration(seconds: float) -> str:
    """Such as "45 s", "12 min" and "3 h 20 min"."""
    minutes = round(seconds / 60)
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"


def say_end(folder: Path, table: Pivot | None, links: Sequence[str]) -> None:
    """The end of a sweep, on standard error: mean over seeds by what varied, best in bold, and where to look next."""
    console = Console(stderr=True)
    console.width = console.width if console.is_terminal else 120
    if table is not None and len(table.values) > 1:
        console.print(outcome_table(table))
        hidden = len(table.lines) - MOST_LINES
        if hidden > 0:
            console.print(f"and {hidden} more lines in {folder / 'summary.csv'}", highlight=False, markup=False)
    where = {"folder": str(folder)}
    where |= {"figure": str(folder / "summary.png")} if (folder / "summary.png").is_file() else {}
    where |= {"report": shlex.join(["trustmm", "report", str(folder), "--out", str(folder / "report")])}
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
    for line in table.lines[:MOST_LINES]:
        cells = []
        for column in table.columns:
            value = means.get((line, column))
            style = "bold" if value == best[column] else ""
            text = "-" if value is None else f"{value:.4f} {table.made.get((line, column), '')}".rstrip()
            cells.append(Text(text, style=style))
        shown.add_row(line, *cells)
    return shown


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


class _Bars(Progress):
    """The bar of all jobs, and below it a line for each that runs."""

    def __init__(self, console: Console) -> None:
        self.lines: Callable[[], Sequence[str]] = tuple
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        hidden, mixed = not console.is_terminal, sys.stdout.isatty()
        left = TextColumn("{task.fields[left]}")
        super().__init__(*columns, left, console=console, transient=True, disable=hidden, redirect_stdout=mixed)

    def get_renderables(self) -> Iterable[RenderableType]:
        """See the base class; called at every refresh."""
        yield from super().get_renderables()
        yield from (Text(f"  {line}", overflow="ellipsis", no_wrap=True) for line in self.lines())
