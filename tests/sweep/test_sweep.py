"""Sweeps through the real command line and the pool: what survives, what is repeated, what is told."""

import csv
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from trustmm.cli.pages import sweep_page, work
from trustmm.options.config import config_folder, register
from trustmm.run.cell import Cell, build_stages, identity_facts
from trustmm.store.files import locked
from trustmm.sweep.launch import alone, run_all
from trustmm.sweep.plan import Sweep
from trustmm.sweep.pool.placement import Placement
from trustmm.sweep.pool.pool import PRELOAD, PRELOAD_TRACKING, PoolExecutor
from trustmm.tracking.mlflow_run import connect

TINY = ("dataset.num_users=60", "dataset.num_items=40", "dataset.num_interactions=400", "rectifier.k=5")
SHORT = ("training.epochs=3", "prior.epochs=3", "rectifier.projection.epochs=2")
ENDLESS = ("training.epochs=1000000", "training.patience=1000000")
WORKERS = "hydra.launcher.n_workers=2"


Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts a sweep of tiny jobs with two workers; none outlives the test."""
    started = []

    def new(*arguments: str, cwd: Path, **machine: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "trustmm", "-m", *TINY, WORKERS, *arguments]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        started.append(subprocess.Popen(command, cwd=cwd, env={**os.environ, **machine}, text=True, **pipes))
        return started[-1]

    yield new
    for sweep in started:
        sweep.kill()
        sweep.communicate()


def finish(sweep: subprocess.Popen[str]) -> tuple[list[str], str]:
    out, log = sweep.communicate(timeout=540)
    return out.splitlines(), log


def until(condition, seconds: float = 900) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def results(folder: Path) -> dict[str, int]:
    """Finished jobs, and when they were written."""
    return {path.parent.name: path.stat().st_mtime_ns for path in folder.glob("outputs/*/result.json")}


def holders(folder: Path, lock: str = "*.lock") -> list[int]:
    """Processes that hold the lock of a job's identity, as the lock files name them."""
    texts = [path.read_text().split() for path in folder.glob(f"outputs/locks/{lock}")]
    return [int(words[1]) for words in texts if len(words) > 1 and is_alive(int(words[1]))]


@contextmanager
def held_back(folder: Path, *overrides: str) -> Iterator[str]:
    """The name of the lock of one job's identity, which cannot start within: so its sweep cannot end."""
    register()
    with initialize_config_dir(version_base="1.3", config_dir=str(config_folder())):
        config = compose("config", overrides=[*TINY, *overrides])
    cell = Cell(config, {}, *build_stages(config))
    path = folder / "outputs" / "locks" / f"{identity_facts(cell, cell.read_data().identity)['job_id']}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with locked(path):
        yield path.name


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def runs_of(folder: Path) -> list:
    client = connect(f"sqlite:///{folder}/mlflow.db")
    return list(client.search_runs([client.get_experiment_by_name("trustmm").experiment_id], max_results=1000))


@pytest.mark.slow
def test_sweep_survives_the_death_of_its_controller_and_of_its_workers(start: Start, tmp_path: Path) -> None:
    command = (*SHORT, "backbone=lightgcn", "corruption.eta=0,0.3", "rectifier=none,mr", "seed=0,1")
    last = (*SHORT, "backbone=lightgcn", "corruption.eta=0.3", "rectifier=mr", "seed=1")

    with held_back(tmp_path, *last):
        first = start(*command, cwd=tmp_path)
        until(lambda: len(results(tmp_path)) >= 2)
        first.kill()
        first.wait()
        until(lambda: not holders(tmp_path))
        before = results(tmp_path)
        assert 2 <= len(before) < 8

    with held_back(tmp_path, *last) as lock:
        second = start(*command, cwd=tmp_path)
        until(lambda: len(results(tmp_path)) == 7)
    until(lambda: holders(tmp_path, lock) or len(results(tmp_path)) == 8)
    for pid in holders(tmp_path, lock):
        os.kill(pid, signal.SIGKILL)
    lines, log = finish(second)
    middle, lost = results(tmp_path), 8 - len(lines)
    assert second.returncode == (1 if lost else 0), log
    assert log.count("killed (signal 9), possibly out of memory") >= lost

    lines, log = finish(third := start(*command, cwd=tmp_path))
    assert third.returncode == 0, log
    assert len(lines) == 8
    assert len(results(tmp_path)) == 8
    assert results(tmp_path).items() >= middle.items() >= before.items()
    children = [run for run in runs_of(tmp_path) if run.data.tags["role"] == "job"]
    ended = Counter((run.data.tags["job_id"], run.info.status) for run in children)
    assert {job for job, status in ended if status == "FINISHED"} == set(results(tmp_path))
    assert all(count == 1 for (_, status), count in ended.items() if status == "FINISHED")
    assert {status for _, status in ended} <= {"FINISHED", "KILLED", "FAILED"}
    (parent,) = [run for run in runs_of(tmp_path) if run.data.tags["role"] == "sweep"]
    assert parent.info.status == "FINISHED"
    assert "corruption.eta=0.3" in parent.data.tags["mlflow.note.content"]
    with next(tmp_path.glob("outputs/sweeps/*/summary.csv")).open() as handle:
        rows = list(csv.DictReader(handle))
    assert len({(row["corruption.eta"], row["rectifier"], row["seed"]) for row in rows}) == len(rows) == 8
    assert {row["run_id"] for row in rows} == {run.info.run_id for run in children if run.info.status == "FINISHED"}


@pytest.mark.slow
def test_a_sweep_started_on_one_machine_goes_on_on_another(start: Start, tmp_path: Path) -> None:
    """Data, identities and results are the same whatever the BLAS kernel and its threads; nothing runs twice."""
    command = (*SHORT, "backbone=bpr", "corruption.eta=0,0.3", "tracking=none")
    lines, log = finish(start(*command, cwd=tmp_path, OPENBLAS_CORETYPE="Nehalem", OPENBLAS_NUM_THREADS="4"))
    assert len(lines) == 2, log
    before = results(tmp_path)
    lines, log = finish(start(*command, cwd=tmp_path, OPENBLAS_CORETYPE="Haswell", OMP_NUM_THREADS="1"))
    assert len(lines) == 2, log
    assert results(tmp_path) == before
    assert len(before) == 2


@pytest.mark.slow
def test_interrupt_ends_the_jobs_and_closes_their_runs_as_killed(start: Start, tmp_path: Path) -> None:
    sweep = start(*ENDLESS, "backbone=bpr", "seed=0,1,2", cwd=tmp_path)
    until(lambda: len(list(tmp_path.glob("outputs/*/history.jsonl"))) == 2)
    until(lambda: all(path.read_text() for path in tmp_path.glob("outputs/*/history.jsonl")))
    pids = holders(tmp_path)
    sweep.send_signal(signal.SIGINT)
    lines, log = finish(sweep)
    assert sweep.returncode == 130, log
    assert "Traceback" not in log
    assert log.count("the sweep was interrupted") >= 2
    assert lines == []
    assert len(pids) == 2
    assert not any(is_alive(pid) for pid in pids)
    runs = runs_of(tmp_path)
    assert {run.info.status for run in runs} == {"KILLED"}
    assert sorted(run.data.tags["role"] for run in runs) == ["job", "job", "sweep"]
    assert {run.data.tags.get("error") for run in runs if run.data.tags["role"] == "job"} == {
        "Terminated: the sweep was interrupted"
    }


@pytest.mark.slow
def test_prior_is_trained_once_for_all_etas_and_rectifiers_and_by_one_worker_of_two(
    start: Start, tmp_path: Path
) -> None:
    etas = "corruption.eta=0,0.1,0.2,0.3,0.4,0.5"
    sweep = start(*SHORT, "backbone=bpr", "tracking=none", etas, "rectifier=none,mr", cwd=tmp_path)
    lines, log = finish(sweep)
    assert sweep.returncode == 0, log
    assert len(lines) == 12
    text = "".join(path.read_text() for path in tmp_path.glob("outputs/*/job.log"))
    assert text.count("cache: computed prior") == 1
    assert text.count("cache: reused prior") == 5
    assert len(list(tmp_path.glob("outputs/cache/prior/*.npz"))) == 1
    left = {path.name for path in tmp_path.glob("outputs/sweeps/*/*")}
    assert {"cells.csv", "summary.csv", "summary.png"} <= left, "files of a sweep do not depend on tracking"


@pytest.mark.slow
def test_second_controller_of_a_sweep_is_refused_while_the_first_lives(tmp_path: Path) -> None:
    with alone(tmp_path), pytest.raises(ValueError, match=f"already has a controller: process {os.getpid()} on "):
        with alone(tmp_path):
            pass
    with alone(tmp_path):
        pass


def test_sweep_finds_a_bad_value_before_anything_starts(start: Start, tmp_path: Path) -> None:
    sweep = start("corruption.eta=0,0.2,1.7", "tracking=none", cwd=tmp_path)
    lines, log = finish(sweep)
    assert sweep.returncode == 1
    assert "corruption.eta must be in [0, 1], got 1.7" in log
    assert not list(tmp_path.glob("outputs/*/job.log"))
    assert lines == []


@pytest.fixture
def sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A sweep of any list of cells, as a launcher makes it."""
    monkeypatch.chdir(tmp_path)
    register()

    def composed(words):
        with initialize_config_dir(version_base="1.3", config_dir=str(config_folder())):
            return compose("config", overrides=list(words), return_hydra_config=True)

    return Sweep(composed, tmp_path / "outputs" / "sweeps" / "mixed", sweep_page)


def kill_when_training(folder: Path) -> None:
    """Kill the process of the job in `folder` once it has finished an epoch."""

    def kill() -> None:
        history = folder / "history.jsonl"
        until(lambda: history.exists() and history.read_text())
        os.kill(int((folder.parent / "locks" / f"{folder.name}.lock").read_text().split()[1]), signal.SIGKILL)

    threading.Thread(target=kill, daemon=True).start()


@pytest.mark.slow
def test_three_jobs_of_24_fail_in_three_ways_and_21_results_remain(
    sweep: Sweep, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = tmp_path / "data" / "toy"
    bad.mkdir(parents=True)
    (bad / "toy.inter").write_text("userID\titemID\tx_label\n0\t0\t0\n1\tmany\t0\n")
    folder = ("dataset=folder", f"dataset.root={bad.parent}", "dataset.name=toy")
    good = [("backbone=bpr", *TINY, *SHORT, f"seed={seed}") for seed in range(21)]
    wrong = [
        (*folder, "backbone=bpr"),
        ("backbone=bpr", *TINY, "backbone.embedding_dim=1000000000000"),
        ("backbone=bpr", *TINY, *ENDLESS),
    ]
    cells = [*good[:7], wrong[0], *good[7:14], wrong[1], *good[14:], wrong[2]]
    tasks = sweep.prepare(cells)
    kill_when_training(tasks[-1].folder)

    def engine(num_tasks: int) -> PoolExecutor:
        return PoolExecutor(sweep.assignment, work, Placement([None, None], 1), preload=PRELOAD + PRELOAD_TRACKING)

    outcomes = run_all(engine, tasks, sweep)
    sweep.finish("FAILED")
    assert Counter(outcome.status for outcome in outcomes) == {"FINISHED": 21, "FAILED": 3}
    reasons = {place: outcome.reason for place, outcome in enumerate(outcomes) if outcome.reason}
    assert set(reasons) == {7, 15, 23}
    assert "toy.inter" in reasons[7]
    assert reasons[15].startswith("out of memory (")
    assert reasons[23] == "killed (signal 9), possibly out of memory"
    assert len(results(tmp_path)) == 21
    shown = capsys.readouterr()
    assert len(shown.out.splitlines()) == 21
    assert "3 jobs did not finish" in shown.err
    with (sweep.folder / "failed.csv").open() as handle:
        failed = list(csv.DictReader(handle))
    assert [row["reason"] for row in failed] == [reasons[7], reasons[15], reasons[23]]
    runs = [run for run in runs_of(tmp_path) if run.data.tags["role"] == "job"]
    assert Counter(run.info.status for run in runs) == {"FINISHED": 21, "FAILED": 3}
    errors = {run.data.tags["error"] for run in runs if run.info.status == "FAILED"}
    assert "killed (signal 9), possibly out of memory" in errors
    again = [sweep.reuse(task) for task in sweep.prepare(cells)]
    assert [place for place, outcome in enumerate(again) if outcome is None] == [7, 15, 23]


@pytest.mark.slow
def test_equal_identities_run_once_and_a_sweep_of_one_process_uses_a_worker(sweep: Sweep, tmp_path: Path) -> None:
    cells = [("tracking=none", "backbone=bpr", *TINY, *SHORT, f"rectifier.lam={lam}") for lam in (0.3, 0.5)]
    tasks = sweep.prepare(cells)
    assert tasks[0].job_id == tasks[1].job_id
    outcomes = run_all(lambda count: PoolExecutor(sweep.assignment, work, Placement([None] * count, 1)), tasks, sweep)
    assert outcomes[0] is outcomes[1]
    assert outcomes[0].valid["recall@10"] >= 0
    log = (tmp_path / tasks[0].folder / "job.log").read_text()
    assert log.count("job ended: FINISHED") == 1
    with (sweep.folder / "cells.csv").open() as handle:
        assert [row["job_id"] for row in csv.DictReader(handle)] == [tasks[0].job_id] * 2
