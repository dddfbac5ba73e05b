"""A Slurm cluster's engine: arrays submitted through submitit, ends learned from Slurm itself.

Slurm's state takes precedence over the outcome file: a preempted job has left an outcome and will run again. Which
job is which is kept in ``slurm/jobs.json`` of the sweep's folder, so that a controller that starts again finds what
still waits or runs.
"""

import json
import logging
import shlex
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Annotated, Any, Self, get_type_hints

from trustmm.options.checks import Count, NonNegative, Positive, Within, check_value
from trustmm.store.files import atomic, read_json
from trustmm.sweep.engine import Outcome, Task
from trustmm.sweep.slurm.state import JobState, SlurmSilent, cancel, job_states, submit
from trustmm.sweep.worker import Assignment, death, finished_silently, forget_outcome, read_outcome

log = logging.getLogger(__name__)
MOST_IN_ARRAY = 1000
"""Slurm's default MaxArraySize is 1001."""
LONGEST_PAUSE = 300.0
"""Seconds between two tries to submit."""
SETTLE = 15.0
"""Seconds that a file may need to be seen on another node, or an ended job to vanish from Slurm's memory."""


@dataclass(frozen=True, kw_only=True)
class SlurmOptions:
    """The launcher's keys and what they may be; `hydra_plugins.trustmm_slurm` explains them."""

    partition: str | None
    account: str | None
    qos: str | None
    constraint: str | None
    timeout_min: Count
    cpus_per_task: Count
    mem_gb: Positive | None
    gpus_per_node: Annotated[int, Within("[0, inf)")]
    gres: str | None
    array_parallelism: Count
    requeue: bool
    signal_delay_s: Annotated[int, Within("[0, inf)")]
    setup: Sequence[str]
    python: str | None
    additional_parameters: Mapping[str, str | int | float | bool]
    poll: Positive
    grace: NonNegative

    def parameters(self, name: str, logs: Path) -> dict[str, Any]:
        """In Slurm's words, as submitit takes them; what is null or 0 is left to the cluster.

        Args:
            name: of the jobs.
            logs: folder of what they print before they have a log of their own. Its `%` are signs, not Slurm's
                `%j`; submitit knows no such folder, so both of its commands are told once more where to write.
        """
        given = {key: getattr(self, key) for key in ("partition", "account", "qos", "constraint", "gres")}
        given |= {"gpus_per_node": self.gpus_per_node or None, "setup": list(self.setup) or None}
        given |= {"mem": None if self.mem_gb is None else f"{round(self.mem_gb * 1024)}M"}
        printed = {end: f"{logs}/".replace("%", "%%") + f"%A_%a_0_log.{end[:3]}" for end in ("output", "error")}
        more = printed | {"requeue" if self.requeue else "no-requeue": True} | dict(self.additional_parameters)
        return {key: value for key, value in given.items() if value is not None} | {
            "job_name": name,
            "time": self.timeout_min,
            "cpus_per_task": self.cpus_per_task,
            # The number of cores is not handed down from sbatch since Slurm 22.05.
            "srun_args": [f"--cpus-per-task={self.cpus_per_task}", *(f"--{end}={to}" for end, to in printed.items())],
            "array_parallelism": self.array_parallelism,
            "signal_delay_s": self.signal_delay_s,
            "additional_parameters": more,
        }


@dataclass
class _Submitted:
    task: Task
    slurm_id: str
    """``ARRAY_INDEX``."""
    stopped: str = ""
    """Why we ended it, if we did."""
    cancelled: bool = False
    """Whether Slurm knows that."""
    seen: JobState | None = None
    """The last that Slurm said of it."""
    since: float | None = None
    """When Slurm first said that it had ended, or nothing."""


@dataclass
class SlurmExecutor:
    """Runs tasks as array jobs of a Slurm cluster; see `Executor`.

    Tasks that are submitted together, before the next `wait`, go as one array. Leaving the context cancels what is
    left; a controller that dies leaves its jobs alone, and the next one takes them over.
    """

    assignment: Callable[[Task], Assignment]
    folder: Path
    """Of this engine, in the sweep's folder, on a disk that all nodes share."""
    options: SlurmOptions
    _queue: list[Task] = field(default_factory=list, init=False)
    _live: dict[str, _Submitted] = field(default_factory=dict, init=False)
    _ended: list[tuple[Task, Outcome]] = field(default_factory=list, init=False)
    _known: dict[str, str] = field(default_factory=dict, init=False)
    _most: int = field(default=MOST_IN_ARRAY, init=False)
    """Jobs of the next array: half of one that was refused, as a limit may lie between."""
    _refusals: int = field(default=0, init=False)
    _next_try: float = field(default=0.0, init=False)

    @property
    def name(self) -> str:
        """Of all jobs of the sweep in Slurm."""
        return f"trustmm-{self.folder.parent.name}"

    @property
    def slots(self) -> int:
        """How many tasks run at the same time, if the cluster has room."""
        return self.options.array_parallelism

    @property
    def running(self) -> Sequence[Task]:
        """What ran when Slurm was last asked."""
        return [job.task for job in list(self._live.values()) if job.seen is not None and job.seen.state == "RUNNING"]

    def __enter__(self) -> Self:
        """Find the jobs of an earlier controller that still wait or run."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._submitit = _submitit_executor(self.folder, self.options, self.name)
        if kept := self._earlier():
            states = self._states_at_last(list(kept.values()))
            found = {job_id: states.get(slurm_id) for job_id, slurm_id in kept.items()}
            alive = {job_id for job_id, state in found.items() if state and state.active and state.name == self.name}
            self._known = {job_id: slurm_id for job_id, slurm_id in kept.items() if job_id in alive}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, reason: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        """Cancel what still waits or runs, and wait up to `grace` seconds for it to end."""
        why = "the sweep was interrupted" if reason is not None else "the sweep ended"
        self._queue.clear()
        if self._live:
            self._cancel_all(why)

    def _cancel_all(self, why: str) -> None:
        log.info("cancelling %d jobs in Slurm", len(self._live))
        for job in self._live.values():
            job.stopped = why
        self._cancel()
        until = time.monotonic() + self.options.grace
        while self._live and time.monotonic() < until:
            self._look()
            time.sleep(min(1.0, self.options.poll))
        if self._live:
            log.warning("Slurm has not ended %s yet", ", ".join(job.slurm_id for job in self._live.values()))
        self._ended += [(job.task, Outcome("KILLED", why)) for job in self._live.values()]
        self._live.clear()

    def submit(self, task: Task) -> None:
        """Take over the task's job from an earlier controller, or put it into the next array."""
        slurm_id = self._known.get(task.job_id)
        if slurm_id is None:
            forget_outcome(self.assignment(task))
            self._queue.append(task)
            return
        log.info("job %s is already in Slurm as %s", task.job_id, slurm_id)
        self._live[task.job_id] = _Submitted(task, slurm_id)

    def wait(self, timeout: float | None = None) -> tuple[Task, Outcome] | None:
        """The next task that ended, in the order of Slurm's reports; None after `timeout` seconds without one."""
        self._flush()
        until = None if timeout is None else time.monotonic() + timeout
        while not self._ended:
            assert self._live or self._queue or until is not None, "no submitted task is left to wait for"
            self._flush()
            self._look()
            if self._ended:
                break
            if until is not None and time.monotonic() >= until:
                return None
            time.sleep(self.options.poll if until is None else min(self.options.poll, max(0, until - time.monotonic())))
        return self._ended.pop(0)

    def stop(self, task: Task, reason: str) -> None:
        """Cancel a task; its outcome, KILLED with this reason, comes through `wait` like any other."""
        if task in self._queue:
            self._queue.remove(task)
            self._ended.append((task, Outcome("KILLED", reason)))
        job = self._live.get(task.job_id)
        if job is not None and not job.stopped:
            job.stopped = reason
            self._cancel()

    def _cancel(self) -> None:
        """Tell Slurm of the jobs that are stopped; where it does not answer, `_look` tries again."""
        stopped = [job for job in self._live.values() if job.stopped and not job.cancelled]
        try:
            if stopped:
                cancel([job.slurm_id for job in stopped])
        except SlurmSilent as error:
            log.warning("Slurm did not accept the cancellation of %d jobs; trying again: %s", len(stopped), error)
            return
        for job in stopped:
            job.cancelled = True

    def _states_at_last(self, slurm_ids: Sequence[str]) -> dict[str, JobState]:
        """What Slurm says, however long it takes to say something."""
        while True:
            try:
                return job_states(slurm_ids)
            except SlurmSilent as error:
                log.warning("Slurm does not answer; waiting: %s", error)
                time.sleep(self.options.poll)

    def _earlier(self) -> dict[str, str]:
        """Jobs of earlier controllers, by identity."""
        return read_json(self._ledger, _is_ledger) or {}

    @property
    def _ledger(self) -> Path:
        return self.folder / "jobs.json"

    def _flush(self) -> None:
        while self._queue and time.monotonic() >= self._next_try:
            tasks = self._queue[: self._most]
            try:
                self._submit_array(tasks)
            except SlurmSilent as refusal:
                self._refusals += 1
                pause = min(LONGEST_PAUSE, self.options.poll * 2 ** min(self._refusals, 10))
                self._next_try, self._most = time.monotonic() + pause, max(1, len(tasks) // 2)
                log.warning("Slurm accepts no jobs now; trying again in %.0f s: %s", pause, refusal)
                return
            self._queue, self._refusals, self._most = self._queue[len(tasks) :], 0, MOST_IN_ARRAY

    def _submit_array(self, tasks: Sequence[Task]) -> None:
        batch = self.folder / uuid.uuid4().hex[:8]
        batch.mkdir()
        for place, task in enumerate(tasks):
            (batch / f"{place}.json").write_text(self.assignment(task).to_json(), encoding="utf-8")
        array = _sbatch(self._submitit, batch, len(tasks))
        for place, task in enumerate(tasks):
            self._live[task.job_id] = _Submitted(task, f"{array}_{place}")
        log.info("submitted %d jobs to Slurm as array %s", len(tasks), array)
        self._known |= {job.task.job_id: job.slurm_id for job in self._live.values()}
        with atomic(self._ledger) as path:
            path.write_text(json.dumps(self._known, indent=1), encoding="utf-8")

    def _look(self) -> None:
        """Ask Slurm about all live jobs once, and move those that ended."""
        if not self._live:
            return
        self._cancel()
        try:
            states = job_states([job.slurm_id for job in self._live.values()])
        except SlurmSilent as error:
            log.warning("Slurm does not answer; waiting: %s", error)
            return
        for job_id, job in list(self._live.items()):
            outcome = self._outcome(job, states.get(job.slurm_id))
            if outcome is not None:
                del self._live[job_id]
                self._known.pop(job_id, None)
                self._ended.append((job.task, outcome))

    def _outcome(self, job: _Submitted, state: JobState | None) -> Outcome | None:
        """What became of a job, or None while that is not sure."""
        if state is not None and state.active:
            if state.stuck and state != job.seen:
                log.warning("job %s is waiting in Slurm: %s", job.slurm_id, state.reason)
            job.seen, job.since = state, None
            return None
        now = time.monotonic()
        job.since = now if job.since is None else job.since
        settled = now - job.since >= SETTLE
        left = read_outcome(self.assignment(job.task))
        if state is None:
            return (left or vanished(job.seen, job.slurm_id, job.stopped)) if settled else None
        if left is None and state.left_by_itself and not settled:
            return None
        if left is None and state.state == "COMPLETED":
            left = finished_silently(self.assignment(job.task))
        return end_of(state, left, job.stopped, self.assignment(job.task).outcome_file)


def _is_ledger(plain: Any) -> bool:
    return isinstance(plain, dict) and all(isinstance(slurm_id, str) for slurm_id in plain.values())


def vanished(seen: JobState | None, slurm_id: str, stopped: str) -> Outcome:
    """The outcome of a job that Slurm has forgotten: without accounting, an array element cancelled before it ran."""
    if stopped:
        return Outcome("KILLED", stopped)
    if seen is not None and seen.state == "PENDING":
        return Outcome("KILLED", "cancelled in Slurm before it started")
    return Outcome("FAILED", f"Slurm no longer knows the job {slurm_id}")


def end_of(state: JobState, left: Outcome | None, stopped: str, outcome_file: Path) -> Outcome:
    """The outcome of a job that Slurm says has ended.

    Args:
        state: not active.
        left: what its process left, if it came to that.
        stopped: why the controller ended it, if it did.
        outcome_file: where the process would have left it.
    """
    if left is not None and left.status != "KILLED":
        return left
    run_id = None if left is None else left.run_id
    if stopped:
        return Outcome("KILLED", stopped, run_id)
    match state.state:
        case "CANCELLED":
            return Outcome("KILLED", "cancelled in Slurm", run_id)
        case "TIMEOUT" | "DEADLINE":
            return Outcome("KILLED", f"timeout: reached Slurm's time limit ({state.state})", run_id)
        case "PREEMPTED":
            return Outcome("KILLED", "preempted, and Slurm did not requeue it", run_id)
        case "OUT_OF_MEMORY":
            return Outcome("FAILED", "out of memory (more than Slurm gave it; hydra.launcher.mem_gb)", run_id)
        case "NODE_FAIL" | "BOOT_FAIL":
            return Outcome("FAILED", f"its node failed ({state.state})", run_id)
        case "COMPLETED" | "FAILED":
            return left or Outcome("FAILED", death(state.exit_code, outcome_file), run_id)
    return left or Outcome("FAILED", f"ended by Slurm as {state.state}", run_id)


def slurm(assignment: Callable[[Task], Assignment], sweep_folder: Path, options: Mapping[str, Any]) -> SlurmExecutor:
    """The engine of a sweep from the launcher's keys.

    Raises: ValueError that names the key, what was found and what was expected, or says that submitit is missing.
    """
    hints = get_type_hints(SlurmOptions, include_extras=True)
    checked = {name: check_value(f"hydra.launcher.{name}", options[name], kind) for name, kind in hints.items()}
    _submitit()
    return SlurmExecutor(assignment, sweep_folder.absolute() / "slurm", SlurmOptions(**checked))


def _submitit() -> Any:
    try:
        import submitit
    except ImportError as error:
        raise ValueError("hydra/launcher=trustmm_slurm needs submitit: pip install 'trustmm[slurm]'") from error
    return submitit


def _submitit_executor(folder: Path, options: SlurmOptions, name: str) -> Any:
    try:
        executor = _submitit().SlurmExecutor(folder=folder / "logs", python=options.python)
    except RuntimeError as error:
        raise ValueError("hydra/launcher=trustmm_slurm: this machine has no Slurm (no srun on the PATH)") from error
    executor.update_parameters(**options.parameters(name, executor.folder))
    return executor


def _sbatch(executor: Any, batch: Path, count: int) -> str:
    """Submit ``BATCH/0.json`` to ``BATCH/(count - 1).json`` as one array; its id.

    A command, not a callable: submitit would pickle one and hide its exit status. submitit writes the script; it would
    take a `%j` in the name of a folder for the job's id when it moves it.
    """
    executor.folder.mkdir(parents=True, exist_ok=True)
    executor.parameters["map_count"] = count
    command = f'{executor.python} -u -m trustmm.cli.slurm_job {shlex.quote(str(batch))}/"$SLURM_ARRAY_TASK_ID".json'
    script = batch / "submission.sh"
    script.write_text(executor._make_submission_file_text(command, ""), encoding="utf-8")
    array = submit(script)
    script.rename(batch / f"{array}.sh")
    return array
