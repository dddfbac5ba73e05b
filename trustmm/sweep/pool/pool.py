"""This machine's engine: a process per job, forked from a server that has everything imported and no CUDA touched.

A worker cannot outlive its controller: it holds one end of a pipe, and the end of that pipe ends it, however the
controller died. What it prints goes to ``job.log`` in the job's folder.
"""

import logging
import multiprocessing
import multiprocessing.connection
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Annotated, Any, Literal, Self, get_type_hints

from trustmm.options.checks import Count, NonNegative, Positive, Within, check_value
from trustmm.process.signals import explain_termination
from trustmm.process.threads import bound, variables
from trustmm.sweep.engine import Outcome, Task
from trustmm.sweep.pool.placement import Placement, asked_threads, place, usable_cpus, visible_gpus
from trustmm.sweep.worker import (
    Assignment,
    death,
    end,
    end_before_start,
    finished_silently,
    forget_outcome,
    read_outcome,
)
from trustmm.tracking.redact import PublicFormatter

log = logging.getLogger(__name__)
PRELOAD = ("trustmm.sweep.pool.preload",)
PRELOAD_TRACKING = ("mlflow.tracking", "trustmm.tracking.mlflow", "trustmm.report.page.job")
"""Imported only, never used before the fork: a worker opens its own connections."""


FORK_TRIES = 3
"""To start a worker, each with another fork server."""


@dataclass
class _Worker:
    task: Task
    process: Any
    lifeline: Connection
    slot: str | None
    deadline: float | None
    stopped: str = ""
    """Why we ended it, if we did."""
    kill_at: float | None = None


@dataclass
class PoolExecutor:
    """Runs tasks in processes of this machine; see `Executor`."""

    assignment: Callable[[Task], Assignment]
    run: Callable[[Assignment], Outcome]
    """What a worker does with its task; it leaves the outcome."""
    placement: Placement
    timeout: float | None = None
    """Seconds that a job may run."""
    grace: float = 30.0
    """Seconds between SIGTERM and SIGKILL."""
    preload: Sequence[str] = PRELOAD
    _waiting: deque[Task] = field(default_factory=deque, init=False)
    _running: list[_Worker] = field(default_factory=list, init=False)
    _ended: deque[tuple[Task, Outcome]] = field(default_factory=deque, init=False)
    _free: list[str | None] = field(default_factory=list, init=False)

    @property
    def slots(self) -> int:
        """How many tasks run at the same time."""
        return len(self.placement.slots)

    @property
    def running(self) -> Sequence[Task]:
        """What runs at this moment."""
        return [worker.task for worker in list(self._running)]

    def __enter__(self) -> Self:
        """Start the fork server; it imports while the first job is on its way."""
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(list(self.preload))
        self._free = list(self.placement.slots)
        _start_server(self.placement.threads)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, reason: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        """End what still runs: SIGTERM, after `grace` seconds SIGKILL; a second Ctrl-C kills at once."""
        self._waiting.clear()
        if self._running:
            log.info("stopping %d jobs; press Ctrl-C again to kill them", len(self._running))
        try:
            for worker in self._running:
                self._stop(worker, "the sweep was interrupted" if reason is not None else "the sweep ended")
            while self._running:
                self._step(None)
        except BaseException:
            for worker in self._running:
                worker.process.kill()
            while self._running:
                self._step(None)
            raise

    def submit(self, task: Task) -> None:
        """Start a task now or as soon as a slot is free."""
        forget_outcome(self.assignment(task))
        self._waiting.append(task)
        self._fill()

    def wait(self, timeout: float | None = None) -> tuple[Task, Outcome] | None:
        """The next task that ended, in order of ending; None after `timeout` seconds without one."""
        until = None if timeout is None else time.monotonic() + timeout
        while not self._ended:
            assert self._running or until is not None, "no submitted task is left to wait for"
            if until is not None and time.monotonic() >= until:
                return None
            self._step(until)
        return self._ended.popleft()

    def stop(self, task: Task, reason: str) -> None:
        """End a submitted task; its outcome, KILLED with this reason, comes through `wait` like any other."""
        if task in self._waiting:
            self._waiting.remove(task)
            self._ended.append((task, Outcome("KILLED", reason)))
        for worker in self._running:
            if worker.task == task:
                self._stop(worker, reason)

    def _fill(self) -> None:
        while self._waiting and self._free:
            self._start(self._waiting.popleft(), self._free.pop(0))

    def _start(self, task: Task, slot: str | None) -> None:
        theirs, ours = self._context.Pipe(duplex=False)
        environment = {} if slot is None else {"CUDA_VISIBLE_DEVICES": slot}
        arguments = (self.run, self.assignment(task), environment, self.placement.threads, theirs, self.grace)
        process = self._context.Process(target=run_worker, args=arguments, name=task.job_id)
        self._fork(process)
        theirs.close()
        deadline = None if self.timeout is None else time.monotonic() + self.timeout
        self._running.append(_Worker(task, process, ours, slot, deadline))

    def _fork(self, process: Any) -> None:
        """Start a process, by another fork server where the one that was there has been killed."""
        for tries_left in reversed(range(FORK_TRIES)):
            try:
                _start_server(self.placement.threads)
                process.start()
                return
            except (OSError, EOFError) as error:
                if not tries_left:
                    raise ChildProcessError(f"the fork server cannot be started or ends at once ({error})") from error
                log.warning("the fork server has ended, starting another")

    def _step(self, until: float | None) -> None:
        """Wait for the next thing to happen, and see to it."""
        times = [worker.kill_at or worker.deadline for worker in self._running]
        nearest = min([at for at in [*times, until] if at is not None], default=None)
        pause = None if nearest is None else max(0.0, nearest - time.monotonic())
        multiprocessing.connection.wait([worker.process.sentinel for worker in self._running], pause)
        for worker in list(self._running):
            if not worker.process.is_alive():
                self._reap(worker)
        now = time.monotonic()
        for worker in self._running:
            if worker.kill_at is not None and now >= worker.kill_at:
                worker.process.kill()
                worker.kill_at = None
                worker.deadline = None
            elif worker.kill_at is None and worker.deadline is not None and now >= worker.deadline:
                self._stop(worker, f"timeout: ran longer than {self.timeout:g} s")
        self._fill()

    def _stop(self, worker: _Worker, reason: str) -> None:
        if not worker.stopped:
            worker.stopped = reason
            worker.kill_at = time.monotonic() + self.grace
            try:
                worker.lifeline.send_bytes(reason.encode())
            except BrokenPipeError:  # it has just ended by itself
                pass

    def _reap(self, worker: _Worker) -> None:
        self._running.remove(worker)
        self._free.append(worker.slot)
        worker.lifeline.close()
        _wait_for_orphan(worker.process.pid, self.grace)
        outcome = read_outcome(self.assignment(worker.task))
        if outcome is None and worker.process.exitcode == 0:
            outcome = finished_silently(self.assignment(worker.task))
        if outcome is None:
            why = death(worker.process.exitcode, self.assignment(worker.task).outcome_file)
            outcome = Outcome("KILLED", worker.stopped) if worker.stopped else Outcome("FAILED", why)
        worker.process.close()
        self._ended.append((worker.task, outcome))


def _wait_for_orphan(pid: int, grace: float) -> None:
    """Where the fork server died, its workers did not; the end of their lifeline ends them."""
    until = time.monotonic() + grace + 5
    while time.monotonic() < until:
        try:
            os.kill(pid, 0)
        except (ProcessLookupError, PermissionError):  # gone; somebody else's may have its number by now
            return
        time.sleep(0.05)


def _start_server(threads: int) -> None:
    """Start the fork server; its environment tells OpenMP and BLAS their threads, and torch how to ask for GPUs.

    Asked in the usual way, torch initialises CUDA, and then no forked process can use it.
    """
    from multiprocessing import forkserver, resource_tracker

    needed = {**variables(threads), "PYTORCH_NVML_BASED_CUDA_CHECK": "1"}
    before = {name: os.environ.get(name) for name in needed}
    os.environ.update(needed)
    resource_tracker.ensure_running()  # it unblocks signals when it starts
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # inherited: Ctrl-C is ours, not the server's
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value


def run_worker(
    run: Callable[[Assignment], Outcome],
    assignment: Assignment,
    environment: Mapping[str, str],
    threads: int,
    lifeline: Connection,
    grace: float,
) -> None:
    """Main function of a worker process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the controller tells us
    threading.Thread(target=_end_with, args=(lifeline, grace), daemon=True).start()
    os.environ.update(environment)
    try:
        log_to(assignment)
    except OSError as error:
        end_before_start(assignment, error)
    bound(threads)
    outcome = run(assignment)
    log.info("job ended: %s, %.2f s of CPU time", outcome.status, time.process_time())
    end(assignment, outcome)


def _end_with(lifeline: Connection, grace: float) -> None:
    """Wait for the controller to say that the job must end, or to vanish; then SIGTERM, at last SIGKILL."""
    try:
        reason = lifeline.recv_bytes().decode()
    except EOFError:
        reason = "its controller ended"
    explain_termination(reason)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(grace)
    os.kill(os.getpid(), signal.SIGKILL)


def log_to(assignment: Assignment) -> None:
    """Everything printed from here goes to the job's log, what libraries print included."""
    folder = assignment.task.folder
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder / "job.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o666)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
        os.dup2(handle, stream.fileno())
    os.close(handle)
    lines = logging.StreamHandler(sys.stderr)
    lines.setFormatter(PublicFormatter("%(asctime)s %(levelname)s %(message)s", "%H:%M:%S"))
    logging.basicConfig(level=logging.INFO, handlers=[lines], force=True)


@dataclass(frozen=True, kw_only=True)
class PoolOptions:
    """The launcher's keys and what they may be; `hydra_plugins.trustmm_pool` explains them."""

    n_workers: Count | Literal["auto"]
    jobs_per_gpu: Count
    gpus: Annotated[int, Within("[0, inf)")] | Literal["auto"]
    threads: Count | Literal["auto"]
    timeout: Positive | None
    grace: NonNegative


def pool(
    assignment: Callable[[Task], Assignment],
    run: Callable[[Assignment], Outcome],
    *,
    tracked: bool,
    num_tasks: int | None,
    options: Mapping[str, Any],
) -> PoolExecutor:
    """The pool of a sweep from the launcher's keys.

    Args:
        assignment: what a task's process is told.
        run: what a worker does with it.
        tracked: whether jobs write to a tracking store, whose library is then loaded in advance.
        num_tasks: there are no more, if that is known.
        options: the launcher's keys.

    Raises: ValueError that names the key, what was found and what was expected.
    """
    checked = {
        name: check_value(f"hydra.launcher.{name}", options[name], annotation)
        for name, annotation in get_type_hints(PoolOptions, include_extras=True).items()
    }
    chosen = PoolOptions(**checked)
    present = [] if chosen.gpus == 0 else visible_gpus()
    if isinstance(chosen.gpus, int) and chosen.gpus > len(present):
        raise ValueError(f"hydra.launcher.gpus must be at most {len(present)}, the GPUs here, got {chosen.gpus}")
    placement = place(
        n_workers=chosen.n_workers,
        jobs_per_gpu=chosen.jobs_per_gpu,
        threads=chosen.threads,
        gpus=present if chosen.gpus == "auto" else present[: chosen.gpus],
        num_cpus=usable_cpus(),
        most_threads=asked_threads(),
        num_tasks=num_tasks,
        hide=chosen.gpus == 0,
    )
    preload = PRELOAD + PRELOAD_TRACKING if tracked else PRELOAD
    return PoolExecutor(assignment, run, placement, timeout=chosen.timeout, grace=chosen.grace, preload=preload)
