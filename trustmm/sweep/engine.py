"""What a sweep asks of the engine that runs its jobs: this machine's pool, or Slurm."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Literal, Protocol, Self

from trustmm.store.sweep_folder import varying_options
from trustmm.tracking.redact import public


@dataclass(frozen=True)
class Task:
    """One cell of a sweep, composed, built and range-checked by the controller before any task starts."""

    number: int
    """Of the job in its sweep; a trial's number in a study."""
    overrides: tuple[str, ...]
    """What Hydra composes the job from."""
    job_id: str
    """Identity of its result."""
    folder: Path
    """``outputs/JOB_ID``: history, checkpoint and, last of all, ``result.json``."""


@dataclass(frozen=True)
class Outcome:
    """What became of a task. Every task that was submitted ends as one of these, whatever happened to its process."""

    status: Literal["FINISHED", "FAILED", "KILLED"]
    reason: str = ""
    """For people: the error's message, "out of memory (...)", "killed (signal 9), possibly out of memory"."""
    run_id: str | None = None
    """The run in the tracking store."""
    valid: Mapping[str, float] = field(default_factory=dict)
    """Validation metrics of the best epoch of a finished task, all that a sweeper may choose by."""


class Executor(Protocol):
    """Runs tasks side by side, each in a process of its own. A context manager: leaving it ends what still runs."""

    @property
    def slots(self) -> int:
        """How many tasks run at the same time."""

    @property
    def running(self) -> Sequence[Task]:
        """What runs at this moment; may be asked from another thread."""

    def __enter__(self) -> Self:
        """Start the engine."""

    def __exit__(
        self, kind: type[BaseException] | None, reason: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        """End what still runs (SIGTERM, then SIGKILL) and wait for it."""

    def submit(self, task: Task) -> None:
        """Start a task now or as soon as a slot is free."""

    def wait(self, timeout: float | None = None) -> tuple[Task, Outcome] | None:
        """The next task that ended, in order of ending; None after `timeout` seconds without one."""

    def stop(self, task: Task, reason: str) -> None:
        """End a submitted task; its outcome, KILLED with this reason, comes through `wait` like any other."""


def cell_name(task: Task) -> str:
    """A cell as the user typed it, without what concerns Hydra."""
    own = (word for word in task.overrides if not word.lstrip("+~").startswith(("hydra.", "hydra/")))
    return public(" ".join(own))


def short_names(tasks: Sequence[Task]) -> dict[int, str]:
    """By number: what tells a cell from the others, or all of its overrides where nothing does."""
    cells = [cell_name(task) for task in tasks]
    axes = [" ".join(f"{key}={value}" for key, value in cell.items()) for cell in varying_options(cells)]
    return {task.number: short or cell for task, short, cell in zip(tasks, axes, cells, strict=True)}


def run_labels(tasks: Sequence[Task]) -> dict[int, str]:
    """By number: what tells a cell from the others in the few letters of a table's column: "mr eta=0.2 seed=0".

    A choice is its value, an option the last part of its key where no other key ends so. Empty where nothing varies.
    """
    found = {}
    for task, cell in zip(tasks, varying_options([cell_name(task) for task in tasks]), strict=True):
        ends = [key.rpartition(".")[2] for key in cell]
        words = [
            _word(key, end if ends.count(end) == 1 else key, value)
            for (key, value), end in zip(cell.items(), ends, strict=True)
        ]
        found[task.number] = " ".join(word for word in words if word)
    return found


def _word(key: str, end: str, value: str) -> str:
    if "." in key or key == "seed":
        return f"{end}={value}" if value else ""
    return f"no {key}" if value == "none" else value
