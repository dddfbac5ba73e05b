"""The controller's part of a sweep: all cells composed, built and checked before one starts, then kept account of.

A launcher makes one `Sweep` for a command. A sweeper that has all its cells at once calls the launcher; one that
chooses as it goes (Optuna) does the same by hand::

    tasks = sweep.prepare([["seed=0"], ["seed=1"]])        # Tasks, in the same order; equal job_ids are one job
    outcome = sweep.reuse(task)                            # of a job that is finished and known to tracking, or None
    executor.submit(task) ... task, outcome = executor.wait()
    sweep.record(task, outcome)                            # cells.csv, the runs of processes that died
    sweep.finish("FINISHED")                               # parent runs: status, aggregated table and figure
"""

import logging
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf, open_dict

from trustmm.run.cell import Cell, build_cell, identity_facts, plain_config
from trustmm.store.digest import digest
from trustmm.store.identity import DataIdentity, changes, parts_of
from trustmm.store.job_folder import read_result
from trustmm.store.pivot import best_cell, metrics_of, params_of, pivot
from trustmm.store.sweep_folder import (
    FinishedCell,
    published,
    read_cells,
    record_cell,
    varying_options,
    write_failures,
)
from trustmm.sweep.engine import Outcome, Task, cell_name, run_labels
from trustmm.sweep.worker import UNREADABLE, Assignment
from trustmm.tracking.mlflow import TrackingError
from trustmm.tracking.redact import concealed, public

if TYPE_CHECKING:
    from trustmm.dataset.data import Dataset
    from trustmm.store.job_folder import Stored
    from trustmm.store.pivot import Pivot
    from trustmm.tracking.mlflow import Status, Tracking
    from trustmm.tracking.view import SweepSummary

log = logging.getLogger(__name__)
Compose = Callable[[Sequence[str]], DictConfig]
"""From the overrides of a job to its configuration, Hydra's node included."""


class MakePage(Protocol):
    """Writes the files of a sweep's page into its folder; the page as Markdown."""

    def __call__(self, folder: Path, rows: Sequence[FinishedCell]) -> str: ...  # noqa: D102


@dataclass(frozen=True)
class _Planned:
    cell: Cell
    assignment: Assignment

    @property
    def task(self) -> Task:
        return self.assignment.task


class Sweep:
    """The cells of one command and what became of them.

    Args:
        compose: Hydra's composition under the command line's configuration.
        folder: of the sweep; its name is the sweep's id, so the same command finds it again.
        page: writes the table and the figure of the finished cells.
    """

    def __init__(self, compose: Compose, folder: Path, page: MakePage) -> None:
        self.folder = folder
        self._page = page
        self._compose = compose
        self._planned: dict[int, _Planned] = {}
        self._identities: dict[str, DataIdentity] = {}
        self._data: dict[str, Dataset] = {}
        self._parents: dict[Tracking, str | None] = {}
        self._outcomes: dict[int, Outcome] = {}
        self._reused: set[str] = set()

    @property
    def parents(self) -> "dict[Tracking, str | None]":
        """The parent run in each tracking store of the cells; for nearly all sweeps it is one."""
        return self._parents

    def prepare(self, overrides: Sequence[Sequence[str]], first_number: int = 0) -> list[Task]:
        """Tasks of these cells, after all of them were found sound and the tracking stores are ready.

        Args:
            overrides: of every cell.
            first_number: of the first cell; the others follow.

        Returns: a task per cell, in order; cells of the same identity have the same job_id and are to run once.

        Raises: ValueError that names the first mistake; nothing has started then.
        """
        cells = [self._build(words, first_number + place) for place, words in enumerate(overrides)]
        self._read_data(cells)
        self._open_parents(cells)
        identities = [identity_facts(cell, self._identities[_data_key(cell)]) for cell in cells]
        tasks = []
        for place, (cell, words, facts) in enumerate(zip(cells, overrides, identities, strict=True)):
            job_id = facts["job_id"]
            tasks.append(Task(first_number + place, tuple(words), job_id, cell.folder(job_id)))
        labels = run_labels([*(planned.task for planned in self._planned.values()), *tasks])
        for task, cell, facts in zip(tasks, cells, identities, strict=True):
            config, parent = OmegaConf.to_yaml(cell.config), self._parents[cell.tracking]
            where = self.folder.absolute()
            assignment = Assignment(task, config, cell.choices, parent, where, facts, labels[task.number])
            self._planned[task.number] = _Planned(cell, assignment)
        for line in changed_cells(self.folder, tasks, identities):
            log.info("%s", line)
        return tasks

    def assignment(self, task: Task) -> Assignment:
        """What the task's process is to be told."""
        return self._planned[task.number].assignment

    def metrics(self, task: Task) -> list[str]:
        """Validation metrics that the task will have."""
        from trustmm.evaluation.metrics import NAMES

        evaluation = self._planned[task.number].cell.job.evaluation
        return [f"{name}@{k}" for k in evaluation.cutoffs for name in (*NAMES, *evaluation.metrics)]

    def stored(self, task: Task) -> "Stored | None":
        """The result of a finished task."""
        return read_result(task.folder, self.assignment(task).identity)

    def changed(self, task: Task, job_id: str) -> str:
        """What differs from an earlier job of the same cell; empty where its result is gone."""
        return _changed_since(task, job_id, self.assignment(task).identity)

    def reuse(self, task: Task) -> Outcome | None:
        """The outcome of a job that has finished before and that the tracking store knows; None if it is to be run."""
        cell = self._planned[task.number].cell
        stored = self.stored(task) if cell.config.resume else None
        if stored is None:
            return None
        run_id = cell.tracking.find(task.job_id)
        if run_id is None and self._parents[cell.tracking] is not None:
            return None
        self._reused.add(task.job_id)
        return Outcome("FINISHED", "", run_id, stored.summary["valid"])

    def record(self, task: Task, outcome: Outcome) -> None:
        """Keep what became of a task: a line in ``cells.csv``, or a true status for a run whose process died."""
        self._outcomes[task.number] = outcome
        if outcome.status == "FINISHED":
            record_cell(self.folder, cell_name(task), task.job_id, outcome.run_id)
        else:
            tracking = self._planned[task.number].cell.tracking
            parent = self._parents[tracking]
            tracking.close_orphans(task.job_id, status=outcome.status, reason=outcome.reason, parent=parent)

    def finish(self, status: "Status", note: str | None = None) -> None:
        """Write ``summary.csv``, ``failed.csv`` and the figure, and close the parent runs with them.

        Args:
            status: of the parent runs.
            note: Markdown of a sweeper that has written a report of its own, instead of all these.
        """
        from trustmm.sweep.show import say_end

        table = None
        try:
            table, note = self._summarise() if note is None else (None, note)
        except OSError as error:
            log.warning("the sweep's summary could not be written: %s", error)
        tracked = [(tracking, run_id) for tracking, run_id in self._parents.items() if run_id is not None]
        summary = self._summary(table, note or "") if tracked else None
        links = [tracking.finish_parent(run_id, status, summary) for tracking, run_id in tracked if summary is not None]
        if self._outcomes or note:  # else it was refused, and there is nothing to see
            say_end(self.folder, table, [link for link in links if link is not None])

    def _summary(self, table: "Pivot | None", note: str) -> "SweepSummary":
        from trustmm.tracking.view import SweepSummary

        cells = [cell_name(planned.task) for planned in self._planned.values()]
        axes = list(varying_options(cells)[0]) if cells else []
        ends = [outcome.status for outcome in self._outcomes.values()]
        metrics = {} if table is None else metrics_of(table)
        counts = {"jobs": len(self._planned), "finished": ends.count("FINISHED"), "reused": self._num_reused}
        counts |= {"failed": len(ends) - counts["finished"]}
        metrics[0] = metrics.get(0, {}) | {f"number of jobs/{name}": float(value) for name, value in counts.items()}
        chosen = best_cell(self._rows())
        if chosen is not None:
            metrics[0] |= {f"selected by validation/{name}": value for name, value in chosen.metrics.items()}
        tags = {} if chosen is None else {"selected_by_validation": chosen.name}
        params = params_of(cells) if cells else {}
        return SweepSummary(axes, params, metrics, tags, published(self.folder), note)

    @property
    def _num_reused(self) -> int:
        return sum(planned.task.job_id in self._reused for planned in self._planned.values())

    def _rows(self) -> list[FinishedCell]:
        """What has finished, in the order of the cells."""
        ended = [(self._planned[number].task, outcome) for number, outcome in sorted(self._outcomes.items())]
        stored = [(task, end, self.stored(task)) for task, end in ended if end.status == "FINISHED"]
        return [
            FinishedCell(cell_name(task), end.run_id, found.summary) for task, end, found in stored if found is not None
        ]

    def _summarise(self) -> "tuple[Pivot | None, str]":
        """The files of the sweep's end; the table, and the same as Markdown."""
        done = {number: (self._planned[number].task, outcome) for number, outcome in sorted(self._outcomes.items())}
        failed = [(task, outcome) for task, outcome in done.values() if outcome.status != "FINISHED"]
        write_failures(self.folder, [(cell_name(task), task.job_id, end.status, end.reason) for task, end in failed])
        rows = self._rows()
        if not rows:
            return None, ""
        return pivot(rows), self._page(self.folder, rows)

    def _build(self, words: Sequence[str], number: int) -> Cell:
        config = self._compose(words)
        with open_dict(config):
            config.hydra.job.id, config.hydra.job.num = str(number), number
        before = HydraConfig.instance().cfg
        HydraConfig.instance().set_config(config)
        try:
            choices = dict(config.hydra.runtime.choices)
            plain = OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])
            if plain.keep_model is None:
                plain.keep_model = False
            cell = build_cell(plain, choices)
            kept = OmegaConf.create(concealed(plain_config(plain)))
            return Cell(kept, cell.choices, cell.job, cell.read_data, cell.tracking)
        finally:
            HydraConfig.instance().cfg = before

    def _read_data(self, cells: Sequence[Cell]) -> None:
        """The digest of each distinct dataset, read once; and whether the jobs fit it."""
        from trustmm.job import check_fit

        errors: list[Exception] = []
        for cell in cells:
            if (data := self._data.get(_data_key(cell))) is not None:
                check_fit(cell.job, data)
        fresh: dict[str, list[Cell]] = {}
        for cell in cells:
            if _data_key(cell) not in self._identities:
                fresh.setdefault(_data_key(cell), []).append(cell)
        for key, group in fresh.items():
            try:
                read = group[0].read_data()
            except Exception as error:  # noqa: BLE001 - its jobs will fail with this reason, the others go on
                errors.append(error)
                log.warning("the data of %d jobs cannot be read: %s", len(group), error)
                self._identities[key] = UNREADABLE
                continue
            for cell in group:
                check_fit(cell.job, read)
            self._identities[key], self._data[key] = read.identity, _light(read)
        if errors and len(errors) == len(fresh):
            raise errors[0]

    def _open_parents(self, cells: Sequence[Cell]) -> None:
        for tracking in dict.fromkeys(cell.tracking for cell in cells):
            if tracking in self._parents:
                continue
            name, tags = self.folder.name, {"command": public(shlex.join(["trustmm", *sys.argv[1:]]))}
            try:
                tracking.initialise()
                self._parents[tracking] = tracking.parent(name, name=f"sweep-{name}", tags=tags, params={})
            except TrackingError as error:
                raise ValueError(str(error)) from error


def changed_cells(folder: Path, tasks: Sequence[Task], identities: Sequence[Mapping[str, Any]]) -> list[str]:
    """Why cells that this sweep has finished before are other jobs now, a line for each reason with its cells.

    Args:
        folder: of the sweep.
        tasks: as they are now.
        identities: of the tasks, see `identity_facts`.
    """
    before = {row["cell"]: row["job_id"] for row in read_cells(folder)}
    found: dict[str, list[str]] = {}
    for task, facts in zip(tasks, identities, strict=True):
        old = before.get(cell_name(task), task.job_id)
        if why := "" if old == task.job_id else _changed_since(task, old, facts):
            found.setdefault(why, []).append(f"{old} -> {task.job_id}")
    return [f"{len(jobs)} finished cells are other jobs now ({jobs[0]}): {why}" for why, jobs in found.items()]


def _changed_since(task: Task, job_id: str, identity: Mapping[str, Any]) -> str:
    stored = read_result(task.folder.with_name(job_id), {"job_id": job_id})
    return "" if stored is None else changes(parts_of(stored.summary), identity)


def _light(data: "Dataset") -> "Dataset":
    """The data without their features' rows, for later checks."""
    features = {name: matrix[:0].copy() for name, matrix in data.features.items()}
    frames = {name: replace(one, rows_NX=one.rows_NX[:0].copy()) for name, one in data.frames.items()}
    return replace(data, features=features, frames=frames)


def _data_key(cell: Cell) -> str:
    plain = OmegaConf.to_container(cell.config.dataset, resolve=True)
    return digest(plain)
