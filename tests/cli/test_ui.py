"""The pages of all runs: on this machine alone, of the right store."""

import os
import socket
import sys
from pathlib import Path
from typing import Any

import pytest

from trustmm.cli import ui


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What would have been executed."""
    found: list[Any] = []
    monkeypatch.setattr(os, "execv", lambda program, words: found.append(words))
    return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((ui.HOST, 0))
        return int(probe.getsockname()[1])


def test_the_server_listens_on_loopback_shows_the_jobs_store_and_reports_nothing(
    started: list[Any], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_DISABLE_TELEMETRY", raising=False)
    monkeypatch.delenv("MLFLOW_BACKEND_STORE_URI", raising=False)
    port = free_port()
    monkeypatch.setattr("trustmm.tracking.mlflow.link_to_latest", lambda uri, server: f"{server}/#/newest of {uri}")
    ui.main(["--port", str(port)])
    (words,) = started
    assert words[words.index("--host") + 1] == "127.0.0.1"
    assert os.environ["MLFLOW_BACKEND_STORE_URI"] == "sqlite:///mlflow.db"
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
    ui.main(["--uri", uri, "--port", str(free_port())])
    assert "s3cr3t" not in capsys.readouterr().out
    assert "s3cr3t" not in str(started)
