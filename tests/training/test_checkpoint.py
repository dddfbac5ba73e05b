"""A killed training continues to the same numbers, bit for bit, as one that was left alone."""

import functools
import json
import logging
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir  # noqa: TID251
from numpy.testing import assert_array_equal

from trustmm.dataset.data import Dataset
from trustmm.job import Job, JobResult, run_job
from trustmm.options.config import config_folder, register
from trustmm.run.cell import build_stages
from trustmm.store.cache import Cache
from trustmm.store.job_folder import record_history
from trustmm.training import lazy
from trustmm.training.checkpoint import FileCheckpoint
from trustmm.training.course import Epoch

DATA = ("dataset.num_users=61", "dataset.num_items=41", "dataset.num_interactions=600")
TINY = (
    *DATA,
    "tracking=none",
    "dataset.modalities={visual: 7, textual: 5}",
    "training.device=cpu",
    "training.batch_size=64",
    "training.learning_rate=0.02",
    "training.checkpoint_every=2",
    "prior.epochs=5",
    "prior.batch_size=64",
    "prior.embedding_dim=8",
    "backbone.embedding_dim=8",
    "corruption.eta=0.3",
)
MR = ("rectifier=mr", "rectifier.k=5", "rectifier.projection.epochs=2")


KEY = {"options": {"backbone": {"_target_": "trustmm.x.A", "k": 10}, "cutoffs": [10, 20]}, "code_digest": "c0de"}
OTHER_KEY = {"options": {"backbone": {"_target_": "trustmm.x.A", "k": 5}, "cutoffs": [10, 20]}, "code_digest": "beef"}


class Killed(Exception):
    pass


@functools.cache
def make(*overrides: str) -> tuple[Dataset, Job]:
    register()
    with initialize_config_dir(version_base="1.3", config_dir=str(config_folder())):
        job, read_data, _ = build_stages(compose("config", overrides=[*TINY, *overrides]))
    return read_data(), job


def run(*overrides: str, folder: Path, kill_after: tuple[str, int] | None = None) -> tuple[JobResult, list[Any]]:
    """The job and what its callback was told; `kill_after` an epoch of a stage."""
    told: list[Any] = []

    def on_epoch(stage: str, epoch: Epoch, epochs: int, left: int) -> None:
        told.append((stage, epoch.epoch, dict(epoch.losses), dict(epoch.valid), epoch.best, epochs, left))
        if (stage, epoch.epoch) == kill_after:
            raise Killed

    data, job = make(*overrides)
    checkpoint = FileCheckpoint(folder / "checkpoint.pt", KEY)
    result = run_job(data, job, cache=Cache(folder / "cache"), on_epoch=on_epoch, checkpoint=checkpoint)
    return result, told


def assert_equal(found: Any, expected: Any) -> None:
    if isinstance(expected, Mapping):
        assert list(found) == list(expected)
        for name in expected:
            assert_equal(found[name], expected[name])
    else:
        assert_array_equal(found, expected)


def assert_same_result(found: JobResult, expected: JobResult) -> None:
    for ours, theirs in ((found.valid, expected.valid), (found.test, expected.test)):
        assert_equal(ours.per_user, theirs.per_user)
        assert_array_equal(ours.users, theirs.users)
        assert ours.headline == theirs.headline
    assert_equal(found.diagnostics, expected.diagnostics)


@pytest.mark.parametrize(
    "options",
    [
        ("backbone=bpr",),
        ("backbone=vbpr",),
        ("backbone=lightgcn",),
        ("backbone=lightgcn", "training.average=3", "training.seed=4"),
        ("backbone=freedom", "backbone.dropout=0.5", "backbone.k=3"),
        ("backbone=lattice", "backbone.k=3"),
        ("backbone=mgcn", "backbone.k=3"),
        ("backbone=smore", "backbone.dropout=0.5", "backbone.k_of={visual: 3, textual: 3}"),
    ],
    ids=" ".join,
)
def test_interrupted_training_ends_with_the_same_numbers(options: tuple[str, ...], tmp_path: Path) -> None:
    options = (*options, "training.epochs=9")
    whole, told = run(*options, folder=tmp_path / "whole")
    for epoch in (3, 6):
        with pytest.raises(Killed):
            run(*options, folder=tmp_path / "killed", kill_after=("backbone", epoch))
    kept = FileCheckpoint(tmp_path / "killed" / "checkpoint.pt", KEY).load()
    assert kept is not None
    assert len(kept["history"]) == 6
    again, told_again = run(*options, folder=tmp_path / "killed")
    assert_same_result(again, whole)
    assert told_again == told
    assert again.history[:6] == [Epoch(**epoch) for epoch in kept["history"]]


@pytest.mark.parametrize(
    "options", [("backbone=bpr", "training.average=3"), ("backbone=freedom", "backbone.k=3")], ids=" ".join
)
def test_tables_that_are_updated_by_rows_continue_and_end_as_others(
    options: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dense, _ = run(*options, "training.epochs=9", folder=tmp_path / "dense")
    monkeypatch.setattr(lazy, "WORTH", 0)
    monkeypatch.setattr(lazy, "EAGER_STEPS", 11)
    test_interrupted_training_ends_with_the_same_numbers(options, tmp_path)
    found, _ = run(*options, "training.epochs=9", folder=tmp_path / "lazy")
    for ours, theirs in zip(found.history, dense.history, strict=True):
        np.testing.assert_allclose(list(ours.losses.values()), list(theirs.losses.values()), rtol=1e-4)


def test_early_stopping_counts_the_epochs_before_the_interruption(tmp_path: Path) -> None:
    options = ("backbone=bpr", "training.epochs=60", "training.patience=3", "training.learning_rate=0.2")
    whole, _ = run(*options, folder=tmp_path / "whole")
    last = len(whole.history) - 1
    assert last < 59
    with pytest.raises(Killed):
        run(*options, folder=tmp_path / "killed", kill_after=("backbone", last - 1))
    again, _ = run(*options, folder=tmp_path / "killed")
    assert [epoch.valid for epoch in again.history] == [epoch.valid for epoch in whole.history]
    assert_same_result(again, whole)


def test_interrupted_prior_continues_in_whichever_job_needs_it(tmp_path: Path) -> None:
    options = (*MR, "training.epochs=2", "backbone=lightgcn")
    whole, _ = run(*options, folder=tmp_path / "whole")
    with pytest.raises(Killed):
        run(*options, "backbone=vbpr", folder=tmp_path / "killed", kill_after=("prior", 3))
    (kept,) = (tmp_path / "killed" / "cache" / "prior").glob("*.checkpoint")
    (held,) = (torch.load(path, weights_only=True) for path in [kept])
    assert len(FileCheckpoint(kept, held["key"]).load()["history"]) == 2
    again, told = run(*options, folder=tmp_path / "killed")
    assert [line[1] for line in told if line[0] == "prior"] == list(range(5))
    assert_same_result(again, whole)
    assert not kept.exists()


def test_no_checkpoint_is_kept_or_used_where_none_is_wanted(tmp_path: Path) -> None:
    options = ("backbone=bpr", "training.epochs=5")
    with pytest.raises(Killed):
        run(*options, folder=tmp_path, kill_after=("backbone", 3))
    before = (tmp_path / "checkpoint.pt").read_bytes()
    _, told = run(*options, "training.checkpoint_every=0", folder=tmp_path, kill_after=None)
    assert len(told) == 5
    assert (tmp_path / "checkpoint.pt").read_bytes() == before


STATE = {"weights": torch.arange(5000.0), "history": [{"best": True, "value": 0.1}], "rates": (0.9, 0.999)}


def saved(path: Path) -> FileCheckpoint:
    checkpoint = FileCheckpoint(path / "checkpoint.pt", KEY)
    checkpoint.save(STATE)
    return checkpoint


def test_state_returns_as_it_was_until_it_is_cleared(tmp_path: Path) -> None:
    checkpoint = saved(tmp_path)
    found = checkpoint.load()
    assert found is not None
    torch.testing.assert_close(found["weights"], STATE["weights"], rtol=0, atol=0)
    assert found["history"] == STATE["history"]
    assert found["rates"] == STATE["rates"]
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.pt"]
    checkpoint.clear()
    assert checkpoint.load() is None
    assert list(tmp_path.iterdir()) == []


def damage_by_a_bit(content: bytearray) -> bytes:
    content[content.find(torch.arange(5000.0).numpy().tobytes()[400:440]) + 3] ^= 1
    return bytes(content)


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: bytes(content[: len(content) // 2]),
        lambda content: bytes(content[:-1]),
        lambda content: b"some text",
        lambda content: pickle.dumps({"key": KEY, "state": 1}),
        damage_by_a_bit,
    ],
    ids=["empty", "half", "last byte", "text", "pickle", "one bit"],
)
def test_damaged_checkpoint_is_ignored_with_a_warning(
    damage: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    checkpoint = saved(tmp_path)
    checkpoint.path.write_bytes(damage(bytearray(checkpoint.path.read_bytes())))
    with caplog.at_level(logging.WARNING):
        assert checkpoint.load() is None
    assert f"{checkpoint.path} is damaged (" in caplog.text
    assert not checkpoint.path.exists()
    assert checkpoint.path.with_name("checkpoint.pt.damaged").exists()


def test_foreign_checkpoint_is_ignored_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = saved(tmp_path).path
    with caplog.at_level(logging.WARNING):
        assert FileCheckpoint(path, OTHER_KEY).load() is None
    assert "which belongs to another job" in caplog.text


class Bomb:
    def __reduce__(self) -> Any:
        return (os.mkdir, (os.environ["TRUSTMM_TEST_BOMB"],))


def test_checkpoint_runs_no_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRUSTMM_TEST_BOMB", str(tmp_path / "exploded"))
    path = tmp_path / "checkpoint.pt"
    torch.save({"key": KEY, "state": Bomb()}, path)
    assert FileCheckpoint(path, KEY).load() is None
    assert not (tmp_path / "exploded").exists()


def test_partial_write_leaves_the_checkpoint_before(tmp_path: Path) -> None:
    checkpoint = saved(tmp_path)
    with pytest.raises(AttributeError, match="pickle"):
        checkpoint.save({"unwritable": lambda: None})
    assert checkpoint.load() is not None
    checkpoint.clear()
    assert list(tmp_path.iterdir()) == []


def epoch(number: int, seconds: float = 1.0) -> Epoch:
    return Epoch(number, {"bpr": 0.5}, {"recall@10": 0.1}, number == 0, seconds, seconds)


def test_history_of_a_stage_is_replaced_and_of_others_kept(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    record = record_history(tmp_path)
    for stage, number in (("prior", 0), ("prior", 1), ("backbone", 0), ("backbone", 1)):
        record(stage, asdict(epoch(number)))
    path.write_text(path.read_text() + '{"stage": "backb')
    again = record_history(tmp_path)
    for number in range(3):
        again("backbone", asdict(epoch(number, seconds=2.0)))
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(line["stage"], line["epoch"]) for line in lines] == [
        *(("prior", number) for number in range(2)),
        *(("backbone", number) for number in range(3)),
    ]
    assert [line["train_seconds"] for line in lines] == [1, 1, 2, 2, 2]


COMMAND = (*DATA, *MR, "tracking=none", "backbone=freedom", "corruption.eta=0.2")
LONG = ("training.epochs=40", "training.patience=40", "training.checkpoint_every=7", "prior.epochs=20")


DYING = """
import os, sys
from trustmm.cli.command import entry
from trustmm.store import job_folder
lines, number = (int(sys.argv.pop(1)) for _ in range(2))
record_history = job_folder.record_history
def recorded(folder):
    record = record_history(folder)
    def dying(*epoch):
        record(*epoch)
        if len(job_folder.read_history(folder)) == lines:
            os.kill(os.getpid(), number)
    return dying
job_folder.record_history = recorded
entry()
"""
"""The command, which sends itself a signal when its history has so many lines."""


def run_command(folder: Path, *how: str) -> subprocess.CompletedProcess[str]:
    folder.mkdir(exist_ok=True)
    return subprocess.run([sys.executable, *how, *COMMAND, *LONG], cwd=folder, capture_output=True, text=True)


def history(folder: Path) -> list[dict[str, Any]]:
    files = list(folder.glob("outputs/*/history.jsonl"))
    lines = files[0].read_text().splitlines(keepends=True) if files else []
    return [json.loads(line) for line in lines if line.endswith("\n")]


def kill_at(folder: Path, lines: int, number: signal.Signals) -> None:
    done = run_command(folder, "-c", DYING, str(lines), str(int(number)))
    assert done.returncode == {signal.SIGKILL: -9, signal.SIGTERM: 143}[number], done.stderr
    assert len(history(folder)) == lines


def outcome(folder: Path) -> tuple[Any, dict[str, Any], list[Any]]:
    done = run_command(folder, "-m", "trustmm")
    assert done.returncode == 0, done.stderr
    (path,) = folder.glob("outputs/*/result.json")
    summary = json.loads(path.read_text())
    with np.load(path.with_name("per_user.npz"), allow_pickle=False) as stored:
        per_user = {name: stored[name] for name in stored.files}
    lines = [{k: v for k, v in line.items() if not k.endswith("_seconds")} for line in history(folder)]
    assert not list(folder.glob("outputs/**/*checkpoint*"))
    return {k: v for k, v in summary.items() if k not in ("seconds", "ended")}, per_user, lines


@pytest.mark.slow
def test_killed_processes_leave_the_same_result_files_in_the_end(tmp_path: Path) -> None:
    """Killed twice, in the prior and in the backbone, at epochs drawn anew in every run of the tests."""
    summary, per_user, lines = outcome(tmp_path / "whole")
    in_prior, in_backbone = np.random.default_rng().integers([8, 28], [19, 55])
    kill_at(tmp_path / "killed", int(in_prior), signal.SIGTERM)
    kill_at(tmp_path / "killed", int(in_backbone), signal.SIGKILL)
    found = outcome(tmp_path / "killed")
    assert found[0] == summary, (in_prior, in_backbone)
    assert_equal(found[1], per_user)
    assert found[2] == lines


@pytest.mark.gpu
@pytest.mark.parametrize(
    "options",
    [
        ("backbone=freedom", "backbone.dropout=0.5", "backbone.k=3"),
        ("backbone=smore", "backbone.dropout=0.5", "backbone.k_of={visual: 3, textual: 3}"),
    ],
    ids=lambda options: options[0],
)
def test_interrupted_training_on_a_gpu_ends_with_the_same_numbers(options: tuple[str, ...], tmp_path: Path) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    options = (*options, "training.epochs=9", "training.device=cuda")
    whole, _ = run(*options, folder=tmp_path / "whole")
    with pytest.raises(Killed):
        run(*options, folder=tmp_path / "killed", kill_after=("backbone", 5))
    again, _ = run(*options, folder=tmp_path / "killed")
    assert_same_result(again, whole)


def test_a_refused_checkpoint_names_what_differs_and_a_used_one_another_environment(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "checkpoint.pt"
    FileCheckpoint(path, KEY, {"blas": "openblas Haswell", "cpu": "A"}).save({"x": 1})
    with caplog.at_level("INFO"):
        assert FileCheckpoint(path, OTHER_KEY).load() is None
        assert FileCheckpoint(path, KEY, {"blas": "openblas SkylakeX", "cpu": "A"}).load() == {"x": 1}
        assert FileCheckpoint(path, KEY, {"blas": "openblas Haswell", "cpu": "A"}).load() == {"x": 1}
    refused, used = caplog.messages
    assert refused.endswith("belongs to another job: option backbone.k: 10, now 5; code: c0de, now beef")
    assert used.endswith("made in another environment: blas: openblas Haswell, now openblas SkylakeX")
