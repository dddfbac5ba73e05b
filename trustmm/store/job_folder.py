"""The folder of a finished job: written once, atomically, and read again when the same job is asked for."""

import json
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trustmm.store.files import atomic, naming, open_no_link, read_json, set_aside
from trustmm.store.identity import changes, parts_of

log = logging.getLogger(__name__)
RESULT, HISTORY = "result.json", "history.jsonl"
SCHEMA: Mapping[str, type | tuple[type, ...]] = {
    "job_id": str,
    "options": Mapping,
    "dataset_digest": str,
    "content_digest": str,
    "code_digest": str,
    "dataset": str,
    "config": Mapping,
    "environment": Mapping,
    "inputs": Sequence,
    "seconds": (int, float),
    "ended": str,
    "valid": Mapping,
    "test": Mapping,
    "test_by_mask": Mapping,
    "diagnostics": Mapping,
    "evaluated_users": int,
    "best_epoch": int,
    "epochs": int,
}
"""The entries that every ``result.json`` has, and their types; there may be more."""
LONGEST_LINE = 1 << 16
"""Bytes at the end of a history that hold its last lines."""
WEIGHTS = "model.npz"
"""Best weights of the backbone, if they are kept."""


@dataclass(frozen=True)
class Stored:
    """The summary of a finished job, and its folder."""

    folder: Path
    summary: Mapping[str, Any]

    @property
    def line(self) -> str:
        """The last line on standard output."""
        test = self.summary["test"]
        path = self.folder / RESULT
        return f"test recall@10={test['recall@10']:.4f} ndcg@10={test['ndcg@10']:.4f} result={path}"


def read_result(folder: Path, identity: Mapping[str, Any]) -> Stored | None:
    """The finished job in `folder`; None if there is no usable one. The log names an unusable one.

    Args:
        folder: of the job.
        identity: its ``job_id`` and, where they are known, the parts that it is made of, see `PARTS`.
    """
    summary = read_json(folder / RESULT, is_summary)
    if summary is None:
        return None
    if summary["job_id"] != identity["job_id"]:
        known = parts_of(identity)
        why = changes({part: summary.get(part) for part in known}, known)
        ids = f"{summary['job_id']}, not {identity['job_id']}{f' ({why})' if why else ''}"
        log.warning("the result %s belongs to another job: %s; it is ignored", folder / RESULT, ids)
        return None
    return Stored(folder, summary)


def load_summary(path: Path) -> Mapping[str, Any]:
    """A ``result.json``; ValueError that names the file and what is wrong with it."""
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
        check_summary(summary)
    except ValueError as error:
        raise ValueError(f"{path} is not the result of a job: {error}") from error
    return dict(summary)


def is_summary(plain: Any) -> bool:
    """Whether these are the values of a ``result.json``."""
    try:
        check_summary(plain)
    except ValueError:
        return False
    return True


def check_summary(summary: Any) -> None:
    """Raise ValueError unless this has everything that `SCHEMA` lists, and the metrics that every reader shows."""
    if not isinstance(summary, Mapping):
        raise ValueError(f"expected a mapping, got {type(summary).__name__}")
    for key, kind in SCHEMA.items():
        if not isinstance(summary.get(key), kind):
            wanted = " or ".join(one.__name__ for one in (kind if isinstance(kind, tuple) else (kind,)))
            raise ValueError(f"{key} must be a {wanted}, got {summary.get(key)!r}")
    for split in ("valid", "test"):
        for name in {"recall@10", "ndcg@10"} | summary[split].keys():
            if not isinstance(summary[split].get(name), int | float):
                raise ValueError(f"{split}.{name} must be a number, got {summary[split].get(name)!r}")
    datetime.fromisoformat(summary["ended"])


def read_stored(folder: Path) -> Stored:
    """The finished job in `folder`; ValueError if there is none."""
    path = folder / RESULT
    if not path.is_file():
        raise ValueError(f"{folder} must be the folder of a finished job, with a {RESULT} in it")
    return Stored(folder, load_summary(path))


def record_history(folder: Path) -> Callable[[str, Mapping[str, Any]], None]:
    """A function that adds an epoch of a stage to ``history.jsonl``, so that an interrupted job keeps its history.

    The first epoch of a stage replaces what an earlier attempt wrote for that stage. Stages that are not run again,
    such as a finished prior, keep their lines.
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


EPOCH: Mapping[str, type | tuple[type, ...]] = {
    "stage": str,
    "epoch": int,
    "losses": dict,
    "valid": dict,
    "best": bool,
    "train_seconds": (int, float),
    "evaluation_seconds": (int, float),
}
"""The entries of a line of ``history.jsonl``, and their types."""


def _is_epoch(line: Any) -> bool:
    if not (isinstance(line, dict) and line.keys() == EPOCH.keys()):
        return False
    fits = all(isinstance(line[key], kind) for key, kind in EPOCH.items())
    return fits and all(isinstance(value, int | float) for part in ("losses", "valid") for value in line[part].values())


def read_history(folder: Path) -> list[dict[str, Any]]:
    """The lines of a history, without a truncated last one; a damaged file is renamed, a missing one is empty."""
    path = folder / HISTORY
    try:
        lines = path.read_bytes().splitlines(keepends=True)
        epochs = [json.loads(line) for line in lines if line.endswith(b"\n")]
        if all(map(_is_epoch, epochs)):
            return epochs
        why = "a line is not an epoch"
    except FileNotFoundError:
        return []
    except ValueError as error:
        why = str(error)
    set_aside(path, why)
    return []


def last_epoch(folder: Path) -> dict[str, Any] | None:
    """The last epoch of a history that is being written; None where there is none yet. Reads the end of the file."""
    try:
        with open_no_link(folder / HISTORY, "rb") as handle:
            handle.seek(max(0, handle.seek(0, os.SEEK_END) - LONGEST_LINE))
            lines = handle.read().splitlines(keepends=True)
        epochs = [json.loads(line) for line in lines[-2:] if line.endswith(b"\n")]
    except (OSError, ValueError):
        return None
    last = epochs[-1] if epochs else None
    return last if isinstance(last, dict) and {"stage", "epoch"} <= last.keys() else None


def write_result(folder: Path, summary: Mapping[str, Any], per_user: Mapping[str, NDArray[Any]]) -> Stored:
    """Write per-user values and, last of all, the summary.

    Args:
        folder: ``outputs/JOB_ID``.
        summary: plain finite values: identity, configuration, versions, times and results.
        per_user: the evaluated ``users`` and, by ``mask/metric``, their test values.

    Raises: ValueError if the summary does not match `SCHEMA`.
    """
    check_summary(summary)
    with atomic(folder / "per_user.npz") as path:
        np.savez_compressed(path, **per_user)  # type: ignore[arg-type]
    with atomic(folder / RESULT) as path:
        path.write_text(json.dumps(summary, indent=1, allow_nan=False), encoding="utf-8")
    return Stored(folder, summary)
