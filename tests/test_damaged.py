"""Our own files, damaged in every way: named in one line, set aside, made anew; a report goes on without them."""

import json
import logging
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.store.test_files import EPOCH
from trustmm.cli.winner import write_winners
from trustmm.report.runs.read import read_sweeps
from trustmm.store.job_folder import read_history, read_result, record_history
from trustmm.store.sweep_folder import read_cells, record_cell
from trustmm.study.storage import open_storage
from trustmm.sweep.engine import Outcome, Task
from trustmm.sweep.slurm.engine import SlurmExecutor
from trustmm.sweep.worker import Assignment, leave_outcome, read_outcome
from trustmm.training.checkpoint import FileCheckpoint

COMMAND = (
    *("-m", "dataset.num_users=60", "dataset.num_items=40", "dataset.num_interactions=400", "rectifier.k=5"),
    *("training.epochs=3", "prior.epochs=3", "backbone=bpr", "tracking=none", "seed=0,1"),
)
DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda content: b"",
    "cut": lambda content: content[: len(content) // 2],
    "garbage": lambda content: b"\x00\xff\xfe{[" * 50,
    "wrong types": lambda content: b'{"job_id": 5, "key": [1], "valid": "x"}\n',
}


def trustmm(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "trustmm", *words], cwd=cwd, capture_output=True, text=True)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished sweep."""
    folder = tmp_path_factory.mktemp("original")
    done = trustmm(*COMMAND, cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def swept(original: Path, tmp_path: Path) -> Path:
    """A copy of its outputs."""
    shutil.copytree(original / "outputs", tmp_path / "outputs")
    return tmp_path / "outputs"


def job_of(swept: Path) -> Path:
    return sorted(swept.glob("*/result.json"))[0].parent


def sweep_of(swept: Path) -> Path:
    return next(swept.glob("sweeps/*/cells.csv")).parent


def task_of(folder: Path) -> Assignment:
    return Assignment(Task(0, (), "abc", folder), "", {}, None, folder)


def result(swept: Path) -> tuple[Path, Callable[[], Any]]:
    folder = job_of(swept)
    return folder / "result.json", lambda: read_result(folder, {"job_id": folder.name})


def history(swept: Path) -> tuple[Path, Callable[[], Any]]:
    folder = job_of(swept)
    return folder / "history.jsonl", lambda: read_history(folder) or None


def cells(swept: Path) -> tuple[Path, Callable[[], Any]]:
    folder = sweep_of(swept)
    return folder / "cells.csv", lambda: read_cells(folder) or None


def outcome(swept: Path) -> tuple[Path, Callable[[], Any]]:
    assignment = task_of(swept)
    leave_outcome(assignment, Outcome("FINISHED", "", "run", {"recall@10": 0.1}))
    return assignment.outcome_file, lambda: read_outcome(assignment)


def checkpoint(swept: Path) -> tuple[Path, Callable[[], Any]]:
    kept = FileCheckpoint(swept / "checkpoint.pt", {"seed": 0})
    kept.save({"history": []})
    return kept.path, kept.load


def ledger(swept: Path) -> tuple[Path, Callable[[], Any]]:
    engine = SlurmExecutor(task_of, swept / "slurm", None)  # type: ignore[arg-type]  # the options are not asked for
    engine.folder.mkdir()
    engine._ledger.write_text(json.dumps({"abc": "7_0", "def": "7_1"}))
    return engine._ledger, lambda: engine._earlier() or None


def journal(swept: Path) -> tuple[Path, Callable[[], Any]]:
    import optuna

    optuna.create_study(study_name="s", storage=open_storage(None, swept))
    text = (swept / "study.journal").read_bytes()
    (swept / "study.journal").write_bytes(text + text)
    return swept / "study.journal", lambda: open_storage(None, swept).get_all_studies() or None


OWN = {file.__name__: file for file in (result, history, cells, outcome, checkpoint, ledger, journal)}
HARMLESS = {
    *(("history", damage) for damage in ("cut", "empty", "garbage")),
    *(("journal", damage) for damage in ("cut", "empty", "garbage")),
    ("cells", "cut"),
}
"""A last line that a kill cut short is expected, and no file is damaged for it; so is garbage without one."""


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("file", OWN)
def test_a_damaged_file_is_named_set_aside_and_not_used(
    file: str, damage: str, swept: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path, read = OWN[file](swept)
    assert read() is not None
    path.write_bytes(DAMAGES[damage](path.read_bytes()))
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        found = read()
    if (file, damage) in HARMLESS:
        return
    assert found is None
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 1, lines
    assert lines[0].startswith(f"{path} is damaged (")
    assert "\n" not in lines[0]
    assert path.with_name(f"{path.name}.damaged").exists()
    assert not path.exists() or file == "journal", "Optuna has made a new one"


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_written_after_the_damage_is_whole(damage: str, swept: Path) -> None:
    folder = job_of(swept)
    for path in (folder / "history.jsonl", sweep_of(swept) / "cells.csv"):
        path.write_bytes(DAMAGES[damage](path.read_bytes()))
    record_history(folder)("backbone", EPOCH)
    record_cell(sweep_of(swept), "seed=9", "abc", None)
    assert read_history(folder)[-1] == {"stage": "backbone", **EPOCH}
    assert read_cells(sweep_of(swept))[-1]["cell"] == "seed=9"


@pytest.mark.parametrize(
    "wrong",
    [
        *({key: value} for key in EPOCH for value in (None, "x", [1])),
        *({key: {"a": "x"}} for key in ("losses", "valid")),
        {"more": 1},
    ],
    ids=str,
)
def test_a_line_that_is_no_epoch_is_damage_too(wrong: dict[str, Any], tmp_path: Path) -> None:
    """Whoever reads an epoch may rely on its parts: publishing a finished job, its figures, the Python API."""
    path = tmp_path / "history.jsonl"
    path.write_text(json.dumps({"stage": "backbone", **EPOCH}) + "\n")
    assert len(read_history(tmp_path)) == 1
    path.write_text(json.dumps({"stage": "backbone", **EPOCH, **wrong}) + "\n")
    assert read_history(tmp_path) == []
    assert path.with_name("history.jsonl.damaged").exists()


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", ["result.json", "multirun.yaml", "failed.csv", "cells.csv", "per_user.npz"])
def test_a_report_goes_on_and_says_so(name: str, damage: str, swept: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = job_of(swept) if name in ("result.json", "per_user.npz") else sweep_of(swept)
    path = folder / name
    assert path.is_file()
    path.write_bytes(DAMAGES[damage](path.read_bytes()))
    with caplog.at_level(logging.WARNING):
        runs = read_sweeps([sweep_of(swept) if name != "cells.csv" else swept])
    assert len(runs.table) == (1 if name == "result.json" else 2)
    if name == "result.json":
        assert [(lost.status, lost.reason) for lost in runs.failures] == [("DAMAGED", f"{path} is damaged")]
        assert f"{path} is damaged (" in caplog.text


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_study_is_one_line_of_the_command_winner(damage: str, tmp_path: Path) -> None:
    (tmp_path / "study.json").write_bytes(DAMAGES[damage](json.dumps({"name": "s", "best": [], "x": 1}).encode()))
    with pytest.raises(ValueError, match=r"study\.json is not the summary of a study") as caught:
        write_winners(tmp_path, tmp_path / "to")
    assert "\n" not in str(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize("damage", DAMAGES)
def test_the_same_command_mends_everything(damage: str, swept: Path) -> None:
    folder, sweep = job_of(swept), sweep_of(swept)
    before = json.loads((folder / "result.json").read_text())
    for path in (*(p for p in folder.iterdir() if p.is_file()), *(p for p in sweep.iterdir() if p.suffix)):
        path.write_bytes(DAMAGES[damage](path.read_bytes()))
    done = trustmm(*COMMAND, cwd=swept.parent)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 2
    after = json.loads((folder / "result.json").read_text())
    assert (after["test"], after["valid"]) == (before["test"], before["valid"])
    assert len(read_cells(sweep)) == 2
    assert f"{folder / 'result.json'}".removeprefix(f"{swept.parent}/") in done.stderr
