"""The folder of a finished job: written once, atomically, and read again when the same job is asked for."""

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trustmm.evaluation.full_ranking import Scores
from trustmm.job import JobResult
from trustmm.store.cache import atomic, locked
from trustmm.training.course import Epoch

RESULT = "result.json"
CELLS = "cells.csv"
STUDY = "study.md"
"""The page of a search, in its sweep's folder or one below."""


@dataclass(frozen=True)
class Stored:
    """The summary of a finished job and where it lies."""

    folder: Path
    summary: Mapping[str, Any]

    @property
    def line(self) -> str:
        """The last line on standard output."""
        test = self.summary["test"]
        path = self.folder / RESULT
        return f"test recall@10={test['recall@10']:.4f} ndcg@10={test['ndcg@10']:.4f} result={path}"


def read_result(folder: Path, job_id: str) -> Stored | None:
    """The finished job in `folder`, or None if there is none or it belongs to another identity."""
    path = folder / RESULT
    if not path.is_file():
        return None
    summary = json.loads(path.read_text(encoding="utf-8"))
    return Stored(folder, summary) if summary.get("job_id") == job_id else None


def record_history(folder: Path) -> Callable[[str, Epoch], None]:
    """What adds an epoch of a stage to ``history.jsonl``: an interrupted job keeps its history.

    The first epoch of a stage takes the place of what an earlier attempt wrote of that stage; stages that are not run
    again, such as a prior that was finished, keep theirs.
    """
    path = folder / "history.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)

    def record(stage: str, epoch: Epoch) -> None:
        if epoch.epoch == 0:
            kept = [line for line in _read_history(path) if line["stage"] != stage]
            with atomic(path) as temporary:
                temporary.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")
        with path.open("a", encoding="utf-8") as handle:
            handle.write(json.dumps({"stage": stage} | asdict(epoch)) + "\n")

    return record


def _read_history(path: Path) -> list[dict[str, Any]]:
    """The lines of a history, but for a last one that a kill cut short."""
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.is_file() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]


def record_cell(sweep_folder: Path, cell: str, job_id: str, run_id: str | None) -> None:
    """Add or replace the line of one cell in ``cells.csv`` (cell, job_id, run_id), also while others do."""
    path = sweep_folder / CELLS
    sweep_folder.mkdir(parents=True, exist_ok=True)
    with locked(path.with_suffix(".lock")):
        rows = {row["cell"]: row for row in read_cells(sweep_folder)}
        rows[cell] = {"cell": cell, "job_id": job_id, "run_id": run_id or ""}
        with atomic(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as handle:
            writer = csv.DictWriter(handle, fieldnames=["cell", "job_id", "run_id"])
            writer.writeheader()
            writer.writerows(rows.values())


def write_failures(sweep_folder: Path, failed: Sequence[tuple[str, str, str, str]]) -> None:
    """Write ``failed.csv`` (cell, job_id, status, reason) anew: what a repeated command will try again."""
    with atomic(sweep_folder / "failed.csv") as temporary, temporary.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle)
        writer.writerows([("cell", "job_id", "status", "reason"), *failed])


def read_cells(sweep_folder: Path) -> list[dict[str, str]]:
    """The cells of a sweep that have finished so far."""
    path = sweep_folder / CELLS
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as handle:
        return list(csv.DictReader(handle))


def write_result(folder: Path, result: JobResult, facts: Mapping[str, Any]) -> Stored:
    """Write per-user values and, last of all, the summary.

    Args:
        folder: ``outputs/JOB_ID``.
        result: what the job found.
        facts: identity, configuration, versions, times.
    """
    arrays: dict[str, Any] = {"users": result.test.users, **per_user_arrays(result.test)}
    with atomic(folder / "per_user.npz") as path:
        np.savez_compressed(path, **arrays)
    summary = dict(facts) | {
        "valid": result.valid.means,
        "test": result.test.means,
        "test_by_mask": {mask: result.test.means_of(mask) for mask in result.test.per_user},
        "diagnostics": {name: value if np.isfinite(value) else None for name, value in result.diagnostics.items()},
        "best_epoch": max(epoch.epoch for epoch in result.history if epoch.best),
        "epochs": len(result.history),
        "evaluated_users": len(result.test.users),
    }
    with atomic(folder / RESULT) as path:
        path.write_text(json.dumps(summary, indent=1, allow_nan=False), encoding="utf-8")
    return Stored(folder, summary)


def per_user_arrays(scores: Scores) -> dict[str, np.ndarray[Any, Any]]:
    """Per-user test values as float32, by ``mask/metric``."""
    return {
        f"{mask}/{name}": values.astype(np.float32)
        for mask, metrics in scores.per_user.items()
        for name, values in metrics.items()
    }
