"""A task in its own process, whatever started it: the pool's fork server here, Slurm on a compute node.

`Assignment` holds everything the process needs, as plain data that survive JSON and pickle. `work` runs the task and,
as its last act, writes the `Outcome` to a file in the sweep's folder. If the process died before that, there is no file
and `read_outcome` returns None. Every engine thus learns the outcome of a task in the same way::

    controller                                     process
    forget_outcome(assignment)                     work(assignment, page)
    ...start it, wait until it is gone...
    read_outcome(assignment) or Outcome("FAILED", "killed (signal 9), possibly out of memory")
"""

import json
import logging
import os
import signal
import sys
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from trustmm.store.files import atomic, read_json
from trustmm.store.identity import DataIdentity
from trustmm.sweep.engine import Outcome, Task
from trustmm.tracking.redact import public, resolve_secrets

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from trustmm.dataset.data import Dataset
    from trustmm.run.cell import Cell
    from trustmm.run.publish import MakePage
    from trustmm.run.reuse import Finished

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Assignment:
    """A task with everything that its process needs to know."""

    task: Task
    config: str
    """The composed and resolved configuration, as YAML."""
    choices: "Mapping[str, str]"
    """The option chosen in each group."""
    parent_run_id: str | None
    """Run of the sweep in the tracking store, initialised by the controller."""
    sweep_folder: Path
    identity: "Mapping[str, Any]" = field(default_factory=dict)
    """The parts that the controller made the job's id of, to say which one differs here; see `identity_facts`."""
    label: str = ""
    """What tells the task from the others of its sweep, the name of its run; empty for a sweep of one."""

    @property
    def outcome_file(self) -> Path:
        """Where the process leaves what became of it."""
        return self.sweep_folder / "outcomes" / f"{self.task.job_id}.json"

    def to_json(self) -> str:
        """Text for `from_json`."""
        return json.dumps(asdict(self), default=str)

    @classmethod
    def from_json(cls, text: str) -> "Assignment":
        """What `to_json` wrote."""
        plain = json.loads(text)
        task = plain.pop("task")
        task |= {"overrides": tuple(task["overrides"]), "folder": Path(task["folder"])}
        return cls(**plain | {"task": Task(**task), "sweep_folder": Path(plain["sweep_folder"])})


def work(assignment: Assignment, page: "MakePage") -> Outcome:
    """Run the task in this process and leave its outcome; nothing is raised, not even by SIGTERM or Ctrl-C.

    Args:
        assignment: the task.
        page: draws and describes the finished job.
    """
    from trustmm.process.signals import Terminated, termination_as_exception

    runs: list[str | None] = [None]
    try:
        with termination_as_exception():
            finished = _run(assignment, page, runs.append)
        outcome = Outcome("FINISHED", "", finished.run_id, finished.stored.summary["valid"])
    except (Terminated, KeyboardInterrupt) as end:
        outcome = Outcome("KILLED", str(end) or "interrupted", runs[-1])
    except Exception as error:  # noqa: BLE001 - whatever a job does, its outcome says so
        log.info("job %s failed", assignment.task.job_id, exc_info=error)
        outcome = Outcome("FAILED", reason_of(error), runs[-1])
    try:
        leave_outcome(assignment, outcome)
    except OSError as error:  # a full disk; the exit status tells, see `end`
        log.warning("the outcome of job %s could not be kept: %s", assignment.task.job_id, error)
    return outcome


def _run(assignment: Assignment, page: "MakePage", on_run: "Callable[[str | None], None]") -> "Finished":
    from omegaconf import DictConfig, OmegaConf

    from trustmm.run.cell import build_cell, identity_facts
    from trustmm.run.reuse import run_or_reuse
    from trustmm.store.identity import changes

    resolve_secrets()
    config = OmegaConf.create(assignment.config)
    assert isinstance(config, DictConfig)
    cell = build_cell(config, assignment.choices, assignment.label)
    data = _read(cell, assignment, on_run)
    found = identity_facts(cell, data.identity)
    if found["job_id"] != assignment.task.job_id:
        why = changes(assignment.identity, found) or f"id: {assignment.task.job_id}, now {found['job_id']}"
        raise ValueError(f"this job has changed since the sweep was prepared; repeat the command; {why}")
    return run_or_reuse(cell, data, page, assignment.parent_run_id, on_run)


def _read(cell: "Cell", assignment: Assignment, on_run: "Callable[[str | None], None]") -> "Dataset":
    """The data; where they cannot be read, a run in the tracking store says so."""
    from trustmm.run.cell import identity_facts
    from trustmm.run.publish import tracked_run

    try:
        return cell.read_data()
    except Exception:
        facts = identity_facts(cell, UNREADABLE)
        with tracked_run(cell, facts, None, assignment.parent_run_id) as tracked:
            on_run(tracked.run_id)
            raise


UNREADABLE = DataIdentity("unreadable", ())
"""In place of the identity of data that cannot be read: such a task fails in its process, and the others go on."""


def reason_of(error: BaseException) -> str:
    """Why a job failed, on one line; running out of memory is named as such, whichever library noticed it."""
    import torch

    text = public(" ".join(str(error).split()))[:500]
    from_allocator = isinstance(error, RuntimeError) and "can't allocate memory" in text
    if isinstance(error, MemoryError | torch.OutOfMemoryError) or from_allocator:
        return f"out of memory ({text})" if text else "out of memory"
    return text if isinstance(error, ValueError) and text else f"{type(error).__name__}: {text}".removesuffix(": ")


def leave_outcome(assignment: Assignment, outcome: Outcome) -> None:
    """Write the file that `read_outcome` reads."""
    with atomic(assignment.outcome_file) as path:
        path.write_text(json.dumps(asdict(outcome)), encoding="utf-8")


UNWRITTEN = os.EX_IOERR
"""Exit status of a process that could not leave its outcome."""


def end(assignment: Assignment, outcome: Outcome) -> NoReturn:
    """End the task's process: with status 0 where it finished, 1 where its outcome says why it did not."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:  # what finds no room is lost; tried again by Python, it would take the exit status with it
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    if outcome.status == "FINISHED":
        sys.exit(0)
    sys.exit(1 if assignment.outcome_file.is_file() else UNWRITTEN)


def end_before_start(assignment: Assignment, error: OSError) -> NoReturn:
    """End the process of a task whose folder cannot be made, or written."""
    outcome = Outcome("FAILED", reason_of(error))
    with suppress(OSError):
        leave_outcome(assignment, outcome)
    end(assignment, outcome)


def death(exit_code: int, outcome_file: Path) -> str:
    """Why a process left no outcome, from its exit code (negative for a signal)."""
    if exit_code == -signal.SIGKILL:
        return "killed (signal 9), possibly out of memory"
    if exit_code < 0:
        return f"killed (signal {-exit_code}, {signal.strsignal(-exit_code)})"
    if exit_code == UNWRITTEN:
        return f"could not write {outcome_file}, which would say why: is the disk full? make room, repeat the command"
    return f"its process ended with status {exit_code} and left no result"


def forget_outcome(assignment: Assignment) -> None:
    """Remove what an earlier attempt left."""
    assignment.outcome_file.unlink(missing_ok=True)


def read_outcome(assignment: Assignment) -> Outcome | None:
    """What the process left, or None if it died before."""
    plain = read_json(assignment.outcome_file, _is_outcome)
    return None if plain is None else Outcome(**plain)


def finished_silently(assignment: Assignment) -> Outcome | None:
    """The outcome of a process that ended well and could not leave it, from its result; None where there is none."""
    from trustmm.store.job_folder import read_result

    stored = read_result(assignment.task.folder, {**assignment.identity, "job_id": assignment.task.job_id})
    return None if stored is None else Outcome("FINISHED", "", None, stored.summary["valid"])


def _is_outcome(plain: Any) -> bool:
    return (
        isinstance(plain, dict)
        and plain.keys() == {field.name for field in fields(Outcome)}
        and plain["status"] in ("FINISHED", "FAILED", "KILLED")
        and isinstance(plain["reason"], str)
        and isinstance(plain["run_id"], str | None)
        and isinstance(plain["valid"], dict)
    )
