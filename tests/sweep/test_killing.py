"""Random kills of controller and workers over repeated commands, from the first second on: nothing lost or doubled."""

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from tests.processes import descendants
from trustmm.tracking.mlflow_run import connect

COMMAND = (
    *("-m", "dataset.num_users=60", "dataset.num_items=40", "dataset.num_interactions=400", "rectifier.k=5"),
    *("training.epochs=20", "prior.epochs=3", "rectifier.projection.epochs=2", "hydra.launcher.n_workers=2"),
    *("backbone=bpr", "corruption.eta=0,0.1,0.2", "rectifier=none,mr", "seed=0,1"),
)
CELLS = 12
KILLS = int(os.environ.get("TRUSTMM_KILLS", "5"))
ROUNDS = [min(10, KILLS - first) for first in range(0, KILLS, 10)]
"""Kills in each folder: every round begins with the first seconds of a first command."""


def start(folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "trustmm", *COMMAND]
    with (folder / "said").open("a") as said:
        return subprocess.Popen(command, cwd=folder, stdout=said, stderr=said, text=True, start_new_session=True)


def kill_one(sweep: subprocess.Popen[str], draw: random.Random) -> str:
    """One kill at a moment between the first instant and the middle: of the controller or of one process below it."""
    deadline = time.monotonic() + draw.choice([0.2, 1, 3, 6, 12]) * draw.random() * 2
    while time.monotonic() < deadline and sweep.poll() is None:
        time.sleep(0.02)
    if sweep.poll() is not None:
        return "ended"
    below = descendants(sweep.pid)
    target = draw.choice(["controller", "interrupt", "below"]) if below else draw.choice(["controller", "interrupt"])
    if target == "interrupt":
        os.killpg(sweep.pid, signal.SIGINT)  # as a terminal does
    else:
        try:
            os.kill(sweep.pid if target == "controller" else draw.choice(below), signal.SIGKILL)
        except ProcessLookupError:
            return "ended"
    return target


def numbers(folder: Path) -> dict[str, tuple[object, bytes]]:
    """What every job found, bit for bit."""
    found = {}
    for path in folder.glob("outputs/*/result.json"):
        summary = json.loads(path.read_text())
        with np.load(path.with_name("per_user.npz"), allow_pickle=False) as stored:
            users = b"".join(stored[name].tobytes() for name in sorted(stored.files))
        found[path.parent.name] = ([summary[key] for key in ("valid", "test", "test_by_mask", "best_epoch")], users)
    return found


def runs_of(folder: Path) -> list:
    client = connect(f"sqlite:///{folder}/mlflow.db")
    return list(client.search_runs([client.get_experiment_by_name("trustmm").experiment_id], max_results=1000))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[object, bytes]] | None:
    """Numbers of the same sweep that nobody killed; not made for the few kills of every day."""
    if KILLS <= 10:
        return None
    folder = tmp_path_factory.mktemp("undisturbed")
    assert start(folder).wait(timeout=900) == 0
    return numbers(folder)


@pytest.mark.slow
@pytest.mark.parametrize(("turn", "kills"), list(enumerate(ROUNDS)))
def test_all_cells_come_once_and_no_run_stays_running(
    turn: int, kills: int, undisturbed: dict[str, tuple[object, bytes]] | None, tmp_path: Path
) -> None:
    draw, done = random.Random(29 + turn), Counter()
    while sum(done.values()) - done["ended"] < kills and done["ended"] < 3 * kills:
        sweep = start(tmp_path)
        done[kill_one(sweep, draw)] += 1
        sweep.wait(timeout=300)
    last = start(tmp_path)
    assert last.wait(timeout=900) == 0, (tmp_path / "said").read_text()[-3000:]
    said = (tmp_path / "said").read_text()
    assert "Traceback" not in said, said
    results = sorted(path.parent.name for path in tmp_path.glob("outputs/*/result.json"))
    assert len(results) == CELLS
    assert undisturbed is None or numbers(tmp_path) == undisturbed
    cells = next(tmp_path.glob("outputs/sweeps/*/cells.csv")).read_text().splitlines()[1:]
    assert len(cells) == len({line.rsplit(",", 2)[0] for line in cells}) == CELLS
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    runs = runs_of(tmp_path)
    assert {run.info.status for run in runs} <= {"FINISHED", "FAILED", "KILLED"}
    jobs = [run for run in runs if run.data.tags["role"] == "job" and run.info.status == "FINISHED"]
    finished = Counter(run.data.tags["job_id"] for run in jobs)
    assert sorted(finished) == results
    assert set(finished.values()) == {1}
    assert [run.info.status for run in runs if run.data.tags["role"] == "sweep"] == ["FINISHED"]
    sys.__stderr__.write(f"kills: {dict(done)}, runs {Counter(run.info.status for run in runs)}\n")


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0.3, 1.0, 2.0, 4.0])
def test_ctrl_c_in_the_first_seconds_is_one_line_that_says_how_to_go_on(seconds: float, tmp_path: Path) -> None:
    sweep = start(tmp_path)
    time.sleep(seconds)
    os.killpg(sweep.pid, signal.SIGINT)
    status = sweep.wait(timeout=120)
    said = (tmp_path / "said").read_text()
    if "trustmm: " in said or "trustmm/cli" in said:  # else Python had not come to the first line of ours
        assert status == 130
        assert "Traceback" not in said
        assert said.splitlines()[-1] == "trustmm: interrupted; repeat the command to continue where it stopped"
