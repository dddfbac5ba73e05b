"""The folder of a finished job: written once, atomically, and read again when the same job is asked for."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trustmm.store.files import atomic

RESULT = "result.json"


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


def record_history(folder: Path) -> Callable[[str, Mapping[str, Any]], None]:
    """What adds an epoch of a stage to ``history.jsonl``: an interrupted job keeps its history.

    The first epoch of a stage takes the place of what an earlier attempt wrote of that stage; stages that are not run
    again, such as a prior that was finished, keep theirs.
    """
    path = folder / "history.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)

    def record(stage: str, epoch: Mapping[str, Any]) -> None:
        if epoch["epoch"] == 0:
            kept = [line for line in _read_history(path) if line["stage"] != stage]
            with atomic(path) as temporary:
                temporary.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")
        with path.open("a", encoding="utf-8") as handle:
            handle.write(json.dumps({"stage": stage, **epoch}) + "\n")

    return record


def _read_history(path: Path) -> list[dict[str, Any]]:
    """The lines of a history, but for a last one that a kill cut short."""
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.is_file() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]


def write_result(folder: Path, summary: Mapping[str, Any], per_user: Mapping[str, NDArray[Any]]) -> Stored:
    """Write per-user values and, last of all, the summary.

    Args:
        folder: ``outputs/JOB_ID``.
        summary: plain finite values: identity, configuration, versions, times and what the job found.
        per_user: the evaluated ``users`` and, by ``mask/metric``, their test values.
    """
    with atomic(folder / "per_user.npz") as path:
        np.savez_compressed(path, **per_user)  # type: ignore[arg-type]
    with atomic(folder / RESULT) as path:
        path.write_text(json.dumps(summary, indent=1, allow_nan=False), encoding="utf-8")
    return Stored(folder, summary)
