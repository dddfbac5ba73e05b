"""All jobs of a batch through an engine: what the launchers have in common.

`SweepLauncher` is the Hydra plugin without the engine. A launcher of this package derives from it and says `executor`;
its `prepare`, `sweep` and `executor` are what a sweeper needs that submits one job at a time.
"""

import logging
import os
import socket
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

if TYPE_CHECKING:
    from trustmm.sweep.engine import Executor, Outcome, Task
    from trustmm.sweep.plan import MakePage, Sweep
    from trustmm.tracking.mlflow import Status


log = logging.getLogger(__name__)


class JobsFailed(RuntimeError):
    """Some jobs of a sweep did not finish; the others did."""


class SweepLauncher(Launcher, ABC):
    """A launcher that prepares all jobs, runs them through its engine and keeps account of them."""

    sweep: "Sweep"

    page: "MakePage"
    """Writes the page of the sweep; said by the plugin."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Hydra's first call; the task function is not used, a worker runs jobs by itself."""
        from trustmm.sweep.plan import Sweep

        def compose(words: Sequence[str]) -> DictConfig:
            return hydra_context.config_loader.load_sweep_config(config, list(words))

        self.sweep = Sweep(compose, Path(config.hydra.sweep.dir), self.page)

    @abstractmethod
    def executor(self, num_tasks: int | None = None) -> "Executor":
        """The engine, not yet started; it need not be larger than `num_tasks`."""

    def prepare(self, overrides: Sequence[Sequence[str]], first_number: int = 0) -> "list[Task]":
        """See `Sweep.prepare`."""
        return self.sweep.prepare(overrides, first_number)

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run a batch to its end, whatever becomes of single jobs."""
        if not job_overrides:
            globs = " ".join(word for word in sys.argv[1:] if "glob(" in word)
            raise ValueError(f"the sweep has no jobs: {globs or 'a choice'} matches nothing")
        number, folder = len(job_overrides), self.sweep.folder
        log.info("%d job%s in %s: checking options and data", number, "s" * (number != 1), folder)
        with alone(folder):
            tasks = self.prepare(job_overrides, initial_job_idx)
            status: Status = "KILLED"
            try:
                outcomes = run_all(self.executor, tasks, self.sweep)
                status = "FINISHED" if all(outcome.status == "FINISHED" for outcome in outcomes) else "FAILED"
            except Exception:
                status = "FAILED"
                raise
            finally:
                self.sweep.finish(status)
        returns = job_returns(tasks, outcomes)
        for failed in (each for each in returns if each.status is JobStatus.FAILED):
            raise failed._return_value  # Hydra would print all overrides before it
        return returns


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Be the only controller of a sweep while the block runs; ValueError naming the other one, if it lives."""
    from trustmm.store.files import locked

    def refuse(other: str) -> None:
        raise ValueError(f"the sweep {folder} already has a controller: {other}; wait for it, or stop it")

    folder.mkdir(parents=True, exist_ok=True)
    holder = f"process {os.getpid()} on {socket.gethostname()}"
    with locked(folder / "controller.lock", holder=holder, on_wait=refuse):
        yield


def run_all(make_executor: "Callable[[int], Executor]", tasks: "Sequence[Task]", sweep: "Sweep") -> "list[Outcome]":
    """Reuse what is finished and run the rest, equal identities once; an outcome per task, in their order.

    Args:
        make_executor: from the number of tasks to their engine.
        tasks: what `sweep.prepare` returned.
        sweep: keeps account.
    """
    from trustmm.sweep.show import show_sweep

    cells: dict[str, list[Task]] = {}
    for task in tasks:
        cells.setdefault(task.job_id, []).append(task)
    outcomes: dict[str, Outcome] = {}

    with show_sweep(tasks) as show:

        def end(task: "Task", outcome: "Outcome", *, reused: bool = False) -> None:
            outcomes[task.job_id] = outcome
            for cell in cells[task.job_id]:
                sweep.record(cell, outcome)
                show(cell, outcome, sweep.stored(task), reused=reused)

        found = [(first, sweep.reuse(first)) for first, *_ in cells.values()]
        known = {first.job_id: outcome for first, outcome in found if outcome is not None}
        waiting = [first for first, outcome in found if outcome is None]
        executor = make_executor(len(waiting)) if waiting else None
        num_reused = sum(len(cells[job_id]) for job_id in known)
        show.begin(sweep.folder, num_reused, 0 if executor is None else executor.slots)
        for first, _ in found:
            if first.job_id in known:
                end(first, known[first.job_id], reused=True)
        if executor is not None:
            show.watch(lambda: executor.running)
            _run(executor, waiting, end, show.beat)
    return [outcomes[task.job_id] for task in tasks]


def _run(
    executor: "Executor",
    tasks: "Sequence[Task]",
    end: "Callable[[Task, Outcome], None]",
    beat: Callable[[], None],
) -> None:
    """Run the tasks and tell `end` of each; when interrupted, also of those that were ended for it.

    Args:
        executor: not yet started.
        tasks: one a job.
        end: told of each that ended.
        beat: called now and then while none ends.
    """
    from trustmm.sweep.show import BEAT_SECONDS

    try:
        with executor:
            for task in tasks:
                executor.submit(task)
            for _ in tasks:
                while (ended := executor.wait(BEAT_SECONDS)) is None:
                    beat()
                end(*ended)
    except BaseException:
        while (ended := executor.wait(0)) is not None:
            end(*ended)
        raise


def job_returns(tasks: "Sequence[Task]", outcomes: "Sequence[Outcome]") -> list[JobReturn]:
    """Outcomes as Hydra's sweepers expect them: the value of a finished job is its `Outcome`."""
    failed = sum(outcome.status != "FINISHED" for outcome in outcomes)
    returns = []
    for task, outcome in zip(tasks, outcomes, strict=True):
        finished = outcome.status == "FINISHED"
        value = outcome if finished else JobsFailed(f"{failed} of {len(tasks)} jobs failed")
        status = JobStatus.COMPLETED if finished else JobStatus.FAILED
        returns.append(JobReturn(overrides=list(task.overrides), status=status, _return_value=value))
    return returns
