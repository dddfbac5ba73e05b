"""A tracking server that hangs or is gone costs seconds, never a training."""

import logging
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from trustmm.cli.report import main as report
from trustmm.tracking import breaker, mlflow_run
from trustmm.tracking.mlflow import MLflowTracking, TrackingError
from trustmm.tracking.mlflow_run import Guard, load


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Times of the product, divided by ten."""
    for name in ("CALL_SECONDS", "TOTAL_SECONDS", "LAST_SECONDS", "WORD_SECONDS"):
        monkeypatch.setattr(breaker, name, getattr(breaker, name) / 10)
    load()
    breaker.breaker_of.cache_clear()
    yield
    breaker.breaker_of.cache_clear()


@pytest.fixture
def hanging() -> Iterator[str]:
    """A server that accepts and never answers."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(50)
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def closed() -> Iterator[str]:
    """A port on which nobody listens."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{unused.getsockname()[1]}"


@pytest.mark.parametrize("kind", ["hanging", "closed"])
def test_a_job_of_a_thousand_epochs_loses_seconds_in_all(
    kind: str, request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mlflow_run, "PAUSE", 0.0)
    server = str(request.getfixturevalue(kind))
    store, started, done = MLflowTracking(uri=server, experiment="x"), time.monotonic(), []
    with caplog.at_level(logging.WARNING), store.run("job", params={"a": 1}, tags={"job_id": "j"}) as run:
        for epoch in range(1000):
            run.log_metrics({"loss": 1.0}, epoch)
            done.append(epoch)
    assert len(done) == 1000
    assert time.monotonic() - started < 2 * (breaker.CALL_SECONDS + breaker.TOTAL_SECONDS + breaker.LAST_SECONDS) + 3
    assert len(caplog.records) == 1
    assert breaker.breaker_of(server).open


def test_the_start_is_refused_in_time_and_after_a_word(hanging: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    store, started = MLflowTracking(uri=hanging.replace("//", "//me:secret99@"), experiment="x"), time.monotonic()
    with pytest.raises(TrackingError, match="no answer within"):
        store.initialise()
    assert time.monotonic() - started < breaker.CALL_SECONDS + 3
    assert "waiting for http://***@127.0.0.1" in caplog.text
    assert "secret99" not in caplog.text


def test_ctrl_c_ends_the_waiting_at_once_and_the_last_try_is_short(
    hanging: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(breaker, "CALL_SECONDS", 100.0)
    store, started = MLflowTracking(uri=hanging, experiment="x"), time.monotonic()
    threading.Timer(0.5, signal.raise_signal, (signal.SIGINT,)).start()
    with pytest.raises(KeyboardInterrupt), store.run("job", params={}, tags={"job_id": "j"}):
        pass
    assert time.monotonic() - started < 0.5 + breaker.LAST_SECONDS + 3


def test_what_was_missed_is_published_at_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = MLflowTracking(uri=f"sqlite:///{tmp_path}/mlflow.db", experiment="x")
    store.initialise()
    away = Guard(breaker.Breaker("http://away", open=True))
    monkeypatch.setattr(breaker, "LAST_SECONDS", 60.0)
    monkeypatch.setattr("trustmm.tracking.mlflow.guard_of", lambda uri: away)
    with store.run("job", params={"a": 1}, tags={"job_id": "j"}) as run:
        run.log_metrics({"loss": 0.5}, 3)
        assert run.run_id is None
    found = store._client().get_run(run.run_id)
    assert (found.info.status, found.data.metrics, found.data.params) == ("FINISHED", {"loss": 0.5}, {"a": "1"})
    assert "tracking_failures" not in found.data.tags


@pytest.mark.parametrize("kind", ["hanging", "absent"])
def test_a_report_from_a_store_that_does_not_answer_is_one_line(
    kind: str, hanging: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    uri = {"hanging": hanging.replace("//", "//me:secret99@"), "absent": f"sqlite:///{tmp_path}/no.db"}[kind]
    with pytest.raises(SystemExit, match="1"):
        report(["--mlflow", uri, "--experiment", "x", "--out", str(tmp_path / "out")])
    said = capsys.readouterr().err
    expected = {"hanging": "http://***@127.0.0.1", "absent": f"no.db: there is no file {tmp_path}/no.db"}[kind]
    assert expected in said
    assert "no answer within" in said or kind == "absent"
    assert "secret99" not in said
    assert len(said.splitlines()) == 1
    assert not (tmp_path / "no.db").exists()
