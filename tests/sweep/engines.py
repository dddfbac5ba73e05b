"""An engine without processes: jobs are functions of their overrides."""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from trustmm.store.digest import digest
from trustmm.store.job_folder import Stored
from trustmm.sweep.engine import Outcome, Task

Objective = Callable[[dict[str, str]], Outcome]


def finished(**valid: float) -> Outcome:
    return Outcome("FINISHED", valid={name.replace("_at_", "@"): value for name, value in valid.items()})


def read(overrides: Sequence[str]) -> dict[str, str]:
    return dict(override.split("=", 1) for override in overrides)


@dataclass
class Jobs:
    """Prepares tasks and runs each when it is waited for; `order` says which of those that run ends first."""

    folder: Path
    objective: Objective
    slots: int = 1
    order: Callable[[int], int] = lambda waiting: 0
    code: str = "1"
    refused: Callable[[dict[str, str]], str] = lambda values: ""
    made: Callable[[dict[str, str]], dict[str, Any]] = lambda values: {}
    """Where a job was computed, as its result.json says."""
    started: list[Task] = field(default_factory=list)
    running: list[Task] = field(default_factory=list)
    stopped: dict[int, str] = field(default_factory=dict)
    most: int = 0

    results: dict[str, Outcome] = field(default_factory=dict)
    recorded: list[tuple[Task, Outcome]] = field(default_factory=list)

    def prepare(self, batch: Sequence[Sequence[str]], first_number: int = 0) -> list[Task]:
        for overrides in batch:
            if reason := self.refused(read(overrides)):
                raise ValueError(reason)
        ids = [digest([sorted(overrides), self.code])[:16] for overrides in batch]
        pairs = zip(ids, batch, strict=True)
        return [
            Task(first_number + number, tuple(line), job, self.folder / job) for number, (job, line) in enumerate(pairs)
        ]

    def metrics(self, task: Task) -> list[str]:
        return ["recall@10", "ndcg@10"]

    def reuse(self, task: Task) -> Outcome | None:
        return self.results.get(task.job_id)

    def record(self, task: Task, outcome: Outcome) -> None:
        self.recorded.append((task, outcome))

    def stored(self, task: Task) -> Stored | None:
        made = self.made(read(task.overrides))
        return Stored(task.folder, made) if made else None

    def changed(self, task: Task, job_id: str) -> str:
        return "" if self.code == "1" else f"code: 1, now {self.code}"

    def start(self, num_tasks: int) -> "Jobs":
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, reason: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        self.running.clear()

    def submit(self, task: Task) -> None:
        assert len(self.running) < self.slots, "submitted more than there are slots"
        self.started.append(task)
        self.running.append(task)
        self.most = max(self.most, len(self.running))

    def wait(self, timeout: float | None = None) -> tuple[Task, Outcome] | None:
        assert timeout is not None, "a controller that waits for ever cannot renew its lease"
        if not self.running:
            return None
        task = self.running.pop(self.order(len(self.running)))
        if task.number in self.stopped:
            return task, Outcome("KILLED", self.stopped[task.number])
        outcome = self.objective(read(task.overrides))
        if outcome.status == "FINISHED":
            self.results[task.job_id] = outcome
        return task, outcome

    def stop(self, task: Task, reason: str) -> None:
        self.stopped[task.number] = reason


@dataclass
class Epochs(Jobs):
    """Jobs that write one epoch of their history at each wait."""

    num_epochs: int = 6
    curve: Callable[[dict[str, str], int], float] = lambda values, epoch: 0.0
    written: dict[int, int] = field(default_factory=dict)

    def wait(self, timeout: float | None = None) -> tuple[Task, Outcome] | None:
        assert timeout is not None
        task = self.running[0]
        epoch = self.written.get(task.number, 0)
        if task.number in self.stopped or epoch == self.num_epochs:
            return super().wait(timeout)
        task.folder.mkdir(parents=True, exist_ok=True)
        line = {"stage": "backbone", "epoch": epoch, "valid": {"recall@10": self.curve(read(task.overrides), epoch)}}
        with (task.folder / "history.jsonl").open("a") as handle:
            handle.write(json.dumps({"stage": "prior", "epoch": 0, "valid": {}}) + "\n")
            handle.write(json.dumps(line) + "\n")
        self.written[task.number] = epoch + 1
        time.sleep(0)
        return None
