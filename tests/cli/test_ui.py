"""The pages of all runs: on this machine alone, of the right store."""

import os
import socket
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from trustmm.cli import ui
from trustmm.cli.command import main


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Any]:
    """What would have been executed."""
    found: list[Any] = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "execv", lambda program, words: found.append(words))
    return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((ui.HOST, 0))
        return int(probe.getsockname()[1])


def test_the_server_listens_on_loopback_shows_the_jobs_store_and_reports_nothing(
    started: list[Any], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_DISABLE_TELEMETRY", raising=False)
    monkeypatch.delenv("MLFLOW_BACKEND_STORE_URI", raising=False)
    port = free_port()
    monkeypatch.setattr("trustmm.tracking.mlflow.link_to_latest", lambda uri, server: f"{server}/#/newest of {uri}")
    ui.main(["--port", str(port)])
    (words,) = started
    assert words[words.index("--host") + 1] == "127.0.0.1"
    assert os.environ["MLFLOW_BACKEND_STORE_URI"] == f"sqlite:///{tmp_path}/mlflow.db"
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"
    assert os.environ["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] == "false"
    assert words[-2:] == ["--workers", "1"]
    assert f"the newest sweep: http://127.0.0.1:{port}/#/newest of sqlite:///mlflow.db\n" in capsys.readouterr().out


def test_a_taken_port_is_refused_before_anything_starts(started: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind((ui.HOST, 0))
        taken.listen()
        with pytest.raises(SystemExit, match="1"):
            ui.main(["--port", str(taken.getsockname()[1])])
    assert "is in use" in capsys.readouterr().err
    assert started == []


def test_a_server_has_pages_of_its_own(started: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    ui.main(["--uri", "http://mlflow.lab:5000"])
    assert "http://mlflow.lab:5000" in capsys.readouterr().out
    assert started == []


def test_make_ui_is_this_command(project: Path) -> None:
    rules = (project / "Makefile").read_text(encoding="utf-8")
    assert "-m trustmm ui" in rules
    assert sys.executable == ui.command(1)[0]


@pytest.mark.parametrize("uri", ["postgresql://u:s3cr3t@lab/db", "http://u:s3cr3t@lab"])
def test_a_password_is_neither_shown_nor_a_word_of_the_server(
    uri: str, started: list[Any], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_BACKEND_STORE_URI", "")
    # Otherwise MLflow goes on trying for minutes in a thread of its own, and the next test waits for its lock.
    monkeypatch.setattr("mlflow.store.db.utils.MAX_RETRY_COUNT", 0)
    ui.main(["--uri", uri, "--port", str(free_port())])
    assert "s3cr3t" not in capsys.readouterr().out
    assert "s3cr3t" not in str(started)


def test_a_database_that_is_not_there_is_made_whole_by_its_address(
    started: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a?b").mkdir()
    monkeypatch.setenv("MLFLOW_BACKEND_STORE_URI", "")
    ui.main(["--uri", f"sqlite:///{tmp_path}/a?b/mlflow.db", "--port", str(free_port())])
    assert os.environ["MLFLOW_BACKEND_STORE_URI"] == "sqlite:///a%3Fb/mlflow.db"
    with closing(sqlite3.connect(tmp_path / "a?b" / "mlflow.db")) as database:
        assert database.execute("SELECT name FROM experiments").fetchall() == [("Default",)]
    assert len(started) == 1


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("sqlite:////proc/nope/mlflow.db", "--uri: cannot use /proc/nope: No such file or directory"),
        ("sqlite:///cut.db", "cut.db is not a readable database (file is not a database); move it away"),
        ("sqlite+nope:///x.db", "tracking.uri must be a database file"),
    ],
)
def test_a_store_that_cannot_be_used_is_one_line(
    uri: str, said: str, started: list[Any], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("cut.db").write_bytes(b"garbage" * 1000)
    monkeypatch.setattr(sys, "argv", ["trustmm", "ui", "--uri", uri, "--port", str(free_port())])
    with pytest.raises(SystemExit, match="1"):
        main()
    assert said in capsys.readouterr().err.splitlines()[-1]
    assert not started
