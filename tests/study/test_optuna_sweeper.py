"""The sweeper as a user meets it: real jobs in real processes, a controller that is killed, the same command again."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.odd import tmp_path as tmp_path
from trustmm.tracking.mlflow_run import connect

TINY = (
    *("dataset.num_users=60", "dataset.num_items=40", "dataset.num_interactions=400"),
    *("training.epochs=6", "prior.epochs=3", "rectifier.projection.epochs=2", "backbone=bpr", "rectifier=mr"),
)
STUDY = (
    *("-m", "hydra/sweeper=trustmm_optuna", "hydra.sweeper.sampler=random", *TINY),
    *("rectifier.lam=interval(0,1)", "rectifier.k=int(interval(1,10))", "seed=0,1"),
)


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "trustmm", *arguments]


def trustmm(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*arguments), capture_output=True, text=True, cwd=cwd, timeout=500)


def summary(cwd: Path) -> dict[str, Any]:
    (path,) = cwd.glob("outputs/sweeps/*/study.json")
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def interrupt_when(cwd: Path, arguments: tuple[str, ...], how: signal.Signals, jobs: int) -> str:
    """Start a study, and send its controller a signal when so many jobs have finished."""
    study = subprocess.Popen(command(*arguments), cwd=cwd, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    deadline = time.monotonic() + 300
    while len(list(cwd.glob("outputs/*/result.json"))) < jobs:
        assert study.poll() is None, study.communicate()[1]
        assert time.monotonic() < deadline, "no job finished"
        time.sleep(0.1)
    os.kill(study.pid, how)
    _, log = study.communicate(timeout=120)
    assert study.returncode != 0
    return log


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("hydra/launcher=basic",), "hydra/launcher=trustmm_pool or hydra/launcher=trustmm_slurm, got BasicLauncher"),
        (("hydra.sweeper.metric=test/recall@10",), "choices use validation only"),
        (("hydra.sweeper.metric=5",), "hydra.sweeper.metric must be a name or a list of names, got 5"),
        (("hydra.sweeper.metric=recall@15", "tracking=none"), "no validation metric 'recall@15', only recall@5"),
        (("rectifier.tau=tag(log, interval(0,1))",), "rectifier.tau: a logarithmic interval starts above 0"),
        (("rectifier.lam=interval(0,2)", "tracking=none"), "rectifier.lam must be in [0, 1], got 2"),
    ],
)
def test_mistake_is_one_message_and_starts_nothing(arguments: tuple[str, ...], said: str, tmp_path: Path) -> None:
    done = trustmm(*STUDY, *arguments, cwd=tmp_path)
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert "trustmm report" not in done.stderr + done.stdout, "there is nothing to report"
    assert not list(tmp_path.glob("outputs/*/history.jsonl"))


@pytest.mark.slow
def test_killed_study_comes_to_its_trials_and_tracking_tells_the_truth(tmp_path: Path) -> None:
    study = (*STUDY, "hydra.launcher.n_workers=2", "hydra.sweeper.n_trials=8")
    interrupt_when(tmp_path, study, signal.SIGKILL, jobs=2)
    interrupt_when(tmp_path, study, signal.SIGINT, jobs=4)
    before = summary(tmp_path)
    assert not before["complete"]
    assert before["trials"]["failed"] == 0
    assert before["trials"]["interrupted"] > 0
    assert before["trials"]["running"] == 0
    done = trustmm(*study, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = summary(tmp_path)
    assert found["complete"]
    assert found["trials"]["finished"] == 8
    assert found["trials"]["waiting"] == found["trials"]["running"] == 0
    best = done.stdout.splitlines()[-1]
    assert best.startswith(f"best recall@10={found['best'][0]['values']['recall@10']:.4f} (validation, trial ")

    client = connect(f"sqlite:///{tmp_path}/mlflow.db")
    runs = client.search_runs([client.get_experiment_by_name("trustmm").experiment_id])
    parents = [run for run in runs if run.data.tags["role"] == "sweep"]
    assert [run.info.status for run in parents] == ["FINISHED"]
    jobs = [run for run in runs if run.data.tags["role"] == "job"]
    finished = [run.data.tags["job_id"] for run in jobs if run.info.status == "FINISHED"]
    assert len(finished) == len(set(finished)) == 8
    assert {run.info.status for run in jobs} <= {"FINISHED", "KILLED"}
    files = {file.path for file in client.list_artifacts(parents[0].info.run_id)}
    assert {"trials.csv", "study.md", "study.json", "study_history.png", "study_slices.png"} <= files

    again = trustmm(*study, cwd=tmp_path)
    assert "has all its trials" in again.stderr
    assert again.stdout.splitlines()[-1] == best
    rerun = best.partition(": python -m trustmm ")[2].split()
    alone = trustmm(*rerun, cwd=tmp_path)
    assert f"outputs/{found['best'][0]['job_id']}/result.json" in alone.stdout


@pytest.mark.slow
def test_pruner_stops_real_jobs_and_their_runs_are_killed(tmp_path: Path) -> None:
    options = ("hydra.sweeper.pruner=median", "hydra.sweeper.median.n_startup_trials=1", "hydra.sweeper.n_trials=6")
    warm_up = ("hydra.sweeper.median.n_warmup_steps=1", "hydra.launcher.n_workers=1")
    long = ("training.epochs=300", "training.patience=300", "training.learning_rate=1e-5,1e-3")
    done = trustmm(*STUDY, *options, *warm_up, *long, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = summary(tmp_path)
    assert found["trials"]["pruned"] > 0
    assert found["trials"]["pruned"] + found["trials"]["finished"] == 6
    client = connect(f"sqlite:///{tmp_path}/mlflow.db")
    runs = client.search_runs([client.get_experiment_by_name("trustmm").experiment_id], "tags.role = 'job'")
    assert sum(run.info.status == "KILLED" for run in runs) == found["trials"]["pruned"]
