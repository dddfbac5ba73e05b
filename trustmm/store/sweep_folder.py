"""The folder of a sweep: which cells have finished, as which jobs, and which have not."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trustmm.store.files import atomic, locked, set_aside

CELLS = "cells.csv"
BOOKKEEPING = "bookkeeping"
"""Folder of artefacts with what a sweep remembers for itself."""
_BOOKS = frozenset({CELLS, "failed.csv", "multirun.yaml", "outcomes", "slurm"})
STUDY = "study.md"
"""The page of a search, in its sweep's folder or one below."""
LOOKS = "evidence.jsonl"
"""The looks of a study that stops by itself, in its sweep's folder."""


def record_cell(sweep_folder: Path, cell: str, job_id: str, run_id: str | None) -> None:
    """Add or replace the line of one cell in ``cells.csv`` (cell, job_id, run_id); safe while other processes do so."""
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
    """Replace ``failed.csv`` (cell, job_id, status, reason), the jobs that a repeated command tries again."""
    with atomic(sweep_folder / "failed.csv") as temporary, temporary.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle)
        writer.writerows([("cell", "job_id", "status", "reason"), *failed])


def published(sweep_folder: Path) -> dict[str, Path]:
    """What a tracking store keeps of a sweep's folder, by name: tables and figures on top, bookkeeping in a folder.

    Locks, reports (which are published by themselves), and links are left out.
    """
    found = {}
    for path in sorted(sweep_folder.rglob("*")):
        place = path.relative_to(sweep_folder)
        if path.is_file() and not path.is_symlink() and path.suffix != ".lock" and place.parts[0] != "report":
            name = place.as_posix()
            found[f"{BOOKKEEPING}/{name}" if place.parts[0] in _BOOKS else name] = path
    return found


def read_cells(sweep_folder: Path) -> list[dict[str, str]]:
    """The cells of a sweep that have finished so far; none if the table is damaged, which is then renamed."""
    path = sweep_folder / CELLS
    if not path.is_file():
        return []
    try:
        with path.open(newline="", encoding="utf-8") as handle:
            rows = list(csv.DictReader(handle))
    except (ValueError, csv.Error) as error:
        set_aside(path, str(error))
        return []
    if not all({"cell", "job_id"} <= row.keys() and None not in (row["cell"], row["job_id"]) for row in rows) or (
        not rows and not path.read_bytes().startswith(b"cell,job_id")
    ):
        set_aside(path, "not a table of cells")
        return []
    return rows


@dataclass(frozen=True)
class FinishedCell:
    """One cell whose job has finished."""

    cell: str
    """Its overrides as the user typed them."""
    run_id: str | None
    summary: Mapping[str, Any]


def varying_options(cells: Sequence[str]) -> list[dict[str, str]]:
    """For each cell, the values of the keys in which cells differ."""
    words = [dict(word.lstrip("+").partition("=")[::2] for word in cell.split(" ") if "=" in word) for cell in cells]
    keys = list(dict.fromkeys(key for cell in words for key in cell))
    varying = [key for key in keys if len({cell.get(key, "") for cell in words}) > 1]
    return [{key: cell.get(key, "") for key in varying} for cell in words]
