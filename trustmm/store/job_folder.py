"""The folder of a finished job: written once, atomically, and read again when the same job is asked for."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trustmm.store.files import atomic, naming, open_no_link, read_json, set_aside

RESULT, HISTORY = "result.json", "history.jsonl"


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
    summary = read_json(folder / RESULT, is_summary)
    return Stored(folder, summary) if summary is not None and summary["job_id"] == job_id else None


def is_summary(plain: Any) -> bool:
    """Whether these are the values of a ``result.json``."""
    return (
        isinstance(plain, dict)
        and all(isinstance(plain.get(name), kind) for name, kind in _KINDS.items())
        and all(isinstance(value, int | float) for name in ("valid", "test") for value in plain[name].values())
        and {"recall@10", "ndcg@10"} <= plain["test"].keys() & plain["valid"].keys()
    )


_KINDS: dict[str, Any] = {
    **{"job_id": str, "code_digest": str, "dataset_digest": str, "options": dict, "config": dict},
    **{"valid": dict, "test": dict, "test_by_mask": dict, "diagnostics": dict},
    **{"best_epoch": int, "evaluated_users": int, "seconds": int | float},
}
"""What a summary must hold for a job to count as finished."""


def record_history(folder: Path) -> Callable[[str, Mapping[str, Any]], None]:
    """What adds an epoch of a stage to ``history.jsonl``: an interrupted job keeps its history.

    The first epoch of a stage takes the place of what an earlier attempt wrote of that stage; stages that are not run
    again, such as a prior that was finished, keep theirs.
    """
    path = folder / HISTORY
    path.parent.mkdir(parents=True, exist_ok=True)

    def record(stage: str, epoch: Mapping[str, Any]) -> None:
        if epoch["epoch"] == 0:
            kept = [line for line in read_history(folder) if line["stage"] != stage]
            with atomic(path) as temporary:
                temporary.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")
        with naming(path), open_no_link(path, "a") as handle:
            handle.write(json.dumps({"stage": stage, **epoch}) + "\n")

    return record


def read_history(folder: Path) -> list[dict[str, Any]]:
    """The lines of a history but for a last one that a kill cut short; a damaged file is set aside, none is none."""
    path = folder / HISTORY
    try:
        lines = path.read_bytes().splitlines(keepends=True)
        epochs = [json.loads(line) for line in lines if line.endswith(b"\n")]
        if all(isinstance(each, dict) and isinstance(each.get("stage"), str) and "epoch" in each for each in epochs):
            return epochs
        why = "a line is no epoch"
    except FileNotFoundError:
        return []
    except ValueError as error:
        why = str(error)
    set_aside(path, why)
    return []


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
