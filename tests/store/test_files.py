"""Files that others may see or have put there."""

import errno
import json
import logging
import os
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from trustmm.cli.words import ConcealSecrets
from trustmm.dataset.new_folder import new_folder
from trustmm.run.publish import publish
from trustmm.store.files import atomic, locked, naming, open_no_link, read_json
from trustmm.store.job_folder import record_history
from trustmm.sweep.pool.pool import log_to
from trustmm.sweep.worker import Assignment, Task
from trustmm.training.checkpoint import FileCheckpoint

EPOCH = {"epoch": 0, "losses": {}, "valid": {}, "best": True, "train_seconds": 0.0, "evaluation_seconds": 0.0}


def lock(path: Path) -> None:
    with locked(path, holder="me"):
        pass


def append(path: Path) -> None:
    with open_no_link(path, "a") as handle:
        handle.write("more")


def keep(path: Path) -> None:
    with atomic(path) as temporary:
        temporary.write_text("new")


WRITERS = {"lock": lock, "append": append, "atomic": keep}


@pytest.mark.parametrize("mask", [0o077, 0o027, 0o022])
@pytest.mark.parametrize("writer", WRITERS)
def test_umask_is_respected(writer: str, mask: int, tmp_path: Path) -> None:
    before = os.umask(mask)
    try:
        WRITERS[writer](tmp_path / "file")
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o666 & ~mask


def checkpoint(folder: Path) -> None:
    FileCheckpoint(folder / "checkpoint.pt", {"seed": 0}).save({"a": 1})


def history(folder: Path) -> None:
    record_history(folder)("backbone", EPOCH)


def history_later(folder: Path) -> None:
    record_history(folder)("backbone", EPOCH | {"epoch": 1})


def job_log(folder: Path) -> None:
    log_to(Assignment(Task(0, (), "id", folder), "", {}, None, folder))


def sweep_starts(folder: Path) -> None:
    """What Hydra does: the callbacks, then `open`."""
    config = OmegaConf.create({"hydra": {"sweep": {"dir": str(folder)}}})
    ConcealSecrets().on_multirun_start(config)
    OmegaConf.save(config, folder / "multirun.yaml")


def prepare(folder: Path) -> None:
    with new_folder(folder / "toys", "--out"):
        pass


@pytest.mark.parametrize("target", ["folder", "lock"])
def test_a_planted_workshop_is_not_entered(target: str, tmp_path: Path) -> None:
    victim, place = tmp_path / "victim", tmp_path / "outputs" / ".toys.preparing"
    victim.mkdir()
    (victim / "folder").mkdir()
    (victim / "folder" / "precious").touch()
    if target == "folder":
        place.parent.mkdir()
        place.symlink_to(victim)
    else:
        place.mkdir(parents=True)
        (place / "lock").symlink_to(victim / "new")
    with pytest.raises(ValueError, match="Too many levels of symbolic links"):
        prepare(tmp_path / "outputs")
    assert [path.name for path in victim.rglob("*")] == ["folder", "precious"]


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("multirun.yaml", sweep_starts),
        ("x.lock", lambda folder: lock(folder / "x.lock")),
        ("x.csv", lambda folder: keep(folder / "x.csv")),
        ("checkpoint.pt.partial", checkpoint),
        ("checkpoint.pt", checkpoint),
        ("history.jsonl", history),
        ("history.jsonl", history_later),
        ("job.log", job_log),
    ],
)
def test_a_planted_link_is_not_followed(name: str, write, tmp_path: Path) -> None:
    victim, folder = tmp_path / "victim", tmp_path / "outputs"
    victim.write_text("precious")
    folder.mkdir()
    (folder / name).symlink_to(victim)
    refused: list[tuple[int | None, str]] = []
    try:
        write(folder)
    except OSError as error:
        refused.append((error.errno, error.filename))
    assert set(refused) <= {(errno.ELOOP, str(folder / name))}
    assert victim.read_text() == "precious"


def test_a_full_disk_is_told_with_the_file(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No space left on device") as caught, naming(tmp_path / "x"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert caught.value.filename == str(tmp_path / "x")
    with pytest.raises(OSError, match="x.json"), atomic(tmp_path / "x.json"), open("/dev/full", "w") as full:
        full.write("x" * 100_000)
    assert list(tmp_path.iterdir()) == []


def test_json_that_is_not_ours_is_set_aside(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"a": 1}))
    assert read_json(path, lambda plain: "a" in plain) == {"a": 1}
    with caplog.at_level(logging.WARNING):
        assert read_json(path, lambda plain: "b" in plain) is None
    assert f"{path} is damaged (unexpected content): renamed to a.json.damaged" in caplog.text
    assert not path.exists()


def test_publishing_survives_pictures_that_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from trustmm.report.page import job as page
    from trustmm.store.job_folder import Stored
    from trustmm.tracking.mlflow_run import Run

    class Kept(Run):
        kept = True
        logged: list[str] = []

        def log_metrics(self, metrics, step=None):
            self.logged += metrics

    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device", "history.png")

    monkeypatch.setattr(page, "draw_job", full)
    names = ("recall@10", "ndcg@10", "recall@20", "ndcg@20")
    summary = {"test": dict.fromkeys(names, 0.1), "valid": dict.fromkeys(names, 0.2), "test_by_mask": {}}
    summary |= {"diagnostics": {}, "best_epoch": 0, "seconds": 1.0, "evaluated_users": 3}
    publish(Stored(tmp_path, summary), Kept(), page.job_page)
    assert "test/recall@10" in Kept.logged
    assert "the job is finished, but its figures could not be drawn" in caplog.text


def test_a_job_whose_server_was_away_is_published_with_its_epochs_by_the_next_command(tmp_path: Path) -> None:
    from trustmm.store.job_folder import Stored
    from trustmm.tracking.mlflow_run import Run

    class Kept(Run):
        kept = True
        logged: list[tuple[str, int | None]] = []

        def log_metrics(self, metrics, step=None):
            self.logged += [(name, step) for name in metrics]

    for number in (0, 1):
        record_history(tmp_path)("backbone", EPOCH | {"epoch": number, "losses": {"bpr": 0.5}})
    summary = {"test": {}, "valid": {}, "test_by_mask": {}, "diagnostics": {}, "best_epoch": 0, "seconds": 1.0}
    publish(Stored(tmp_path, summary), Kept(), lambda stored: "", anew=True)
    losses = [step for name, step in Kept.logged if name.endswith("bpr")]
    assert losses == [0, 1]
