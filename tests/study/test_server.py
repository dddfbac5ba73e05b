"""A sweep that tracks to a real MLflow server."""

import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from trustmm.tracking.mlflow_run import connect

SECRET = "s3cr3tOfServer"
TINY = ("dataset.num_users=60", "dataset.num_items=40", "dataset.num_interactions=400", "training.epochs=2")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """The address of an MLflow server on this machine."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    store = [f"--backend-store-uri=sqlite:///{tmp_path}/server.db", f"--artifacts-destination={tmp_path}/server"]
    command = [sys.executable, "-m", "mlflow", "server", *store, "--host=127.0.0.1", f"--port={port}", "--workers=1"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait(f"http://127.0.0.1:{port}/health")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(60)


def _wait(address: str) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(address, timeout=5):
                return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.5)
    pytest.skip("no MLflow server within two minutes")


@pytest.mark.slow
def test_sweep_tracks_to_a_server_as_to_a_file_and_the_password_stays_out(server: str, tmp_path: Path) -> None:
    login = server.replace("//", f"//me:{SECRET}@")
    options = ("backbone=bpr", "seed=0,1", f"tracking.uri='{login}'", "hydra.launcher.n_workers=2")
    command = [sys.executable, "-m", "trustmm", "-m", *TINY, *options]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "mlflow.db").exists()
    client = connect(server)
    runs = client.search_runs([client.get_experiment_by_name("trustmm").experiment_id])
    (parent,) = [run for run in runs if run.data.tags["role"] == "sweep"]
    children = [run for run in runs if run.data.tags["role"] == "job"]
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert {run.data.params["seed"] for run in children} == {"0", "1"}
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parent.info.run_id}
    files = {file.path for file in client.list_artifacts(parent.info.run_id)}
    assert {"bookkeeping", "summary.csv", "summary.png"} <= files
    assert "result.json" in {file.path for file in client.list_artifacts(children[0].info.run_id)}
    assert SECRET not in done.stdout + done.stderr
    assert [path for path in tmp_path.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()] == []
