"""Random kills of controller and workers over repeated commands, from the first second on: nothing lost or doubled."""

import json
import os
import random
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from trustmm.tracking.mlflow_run import connect

COMMAND = (
    *("-m", "dataset.num_users=60", "dataset.num_items=40", "dataset.num_interactions=400", "rectifier.k=5"),
    *("training.epochs=20", "prior.epochs=3", "rectifier.projection.epochs=2", "hydra.launcher.n_workers=2"),
    *("backbone=bpr", "corruption.eta=0,0.1,0.2", "rectifier=none,mr", "seed=0"),
)
CELLS = 6
KILLS = int(os.environ.get("TRUSTMM_KILLS", "5"))
ROUNDS = [min(5, KILLS - first) for first in range(0, KILLS, 5)]
"""Kills in each folder: every round begins with the first seconds of a first command."""


def start(folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "trustmm", *COMMAND]
    with (folder / "said").open("a") as said:
        return subprocess.Popen(command, cwd=folder, stdout=said, stderr=said, text=True, start_new_session=True)


def below(pid: int) -> list[int]:
    """Children of a process."""
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def has_lock(pid: int) -> bool:
    return any(line.split()[4] == str(pid) for line in Path("/proc/locks").read_text().splitlines())


MOMENTS: dict[str, Callable[[int, Path], bool]] = {
    "imports": lambda pid, folder: True,
    "first lock": lambda pid, folder: has_lock(pid),
    "database being made": lambda pid, folder: any(folder.glob("mlflow.db.partial*")) or bool(below(pid)),
    "fork server": lambda pid, folder: bool(below(pid)),
    "jobs": lambda pid, folder: any(below(child) for child in below(pid)),
}
"""How far a command has come; each of the later ones includes those before."""


def kill_one(sweep: subprocess.Popen[str], folder: Path, draw: random.Random) -> str:
    """One kill, up to a second and a half after a random moment: of the controller or of one process below it."""
    reached = MOMENTS[draw.choice(list(MOMENTS))]
    while not reached(sweep.pid, folder) and sweep.poll() is None:
        time.sleep(0.01)
    time.sleep(1.5 * draw.random() ** 2)
    if sweep.poll() is not None:
        return "ended"
    when = [name for name, reached in MOMENTS.items() if reached(sweep.pid, folder)][-1]
    targets = [*below(sweep.pid), *(pid for child in below(sweep.pid) for pid in below(child))]
    target = draw.choice(["controller", "Ctrl-C", *(["below", "below"] if targets else [])])
    try:
        if target == "Ctrl-C":
            os.killpg(sweep.pid, signal.SIGINT)  # as a terminal does
        else:
            os.kill(draw.choice(targets) if target == "below" else sweep.pid, signal.SIGKILL)
    except ProcessLookupError:
        return "ended"
    return f"{when}: {target}"


def numbers(folder: Path) -> dict[str, tuple[object, bytes]]:
    """What every job found, bit for bit."""
    found = {}
    for path in folder.glob("outputs/*/result.json"):
        summary = json.loads(path.read_text())
        with np.load(path.with_name("per_user.npz"), allow_pickle=False) as stored:
            users = b"".join(stored[name].tobytes() for name in sorted(stored.files))
        found[path.parent.name] = ([summary[key] for key in ("valid", "test", "test_by_mask", "best_epoch")], users)
    return found


def ours(said: str) -> list[str]:
    """Lines of tracebacks that lead through our code; Ctrl-C may hit Python before it has come to our first line."""
    return [line for line in said.splitlines() if re.match(r'  File ".*/trustmm/', line)]


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
        done[kill_one(sweep, tmp_path, draw)] += 1
        sweep.wait(timeout=300)
    last = start(tmp_path)
    assert last.wait(timeout=900) == 0, (tmp_path / "said").read_text()[-3000:]
    said = (tmp_path / "said").read_text()
    assert not ours(said), said
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
