"""Sweeps on a real Slurm of one node, started by `slurm_cluster.sh`: killed, cancelled, preempted, taken over."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytestmark = [pytest.mark.slow, pytest.mark.slurm]
TINY = ("dataset.num_users=60", "dataset.num_items=40", "dataset.num_interactions=400", "tracking=none")
FAST = ("backbone=bpr", "training.device=cpu", "training.patience=100000", "training.checkpoint_every=20")
LAUNCHER = ("hydra/launcher=trustmm_slurm", "hydra.launcher.cpus_per_task=1", "hydra.launcher.poll=0.5")
LONG = "training.epochs=600"
PATIENCE = 180


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, project: Path) -> Iterator[Path]:
    """A folder with the cluster's files; its jobs are gone at the end."""
    folder = tmp_path_factory.mktemp("slurm")
    script = [str(project / "tests/sweep/slurm/slurm_cluster.sh"), str(folder), "sh", "-c", "echo ready; exec cat"]
    with (folder / "start.log").open("w") as log:
        process = subprocess.Popen(script, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True)
    assert process.stdin is not None
    assert process.stdout is not None
    ready = process.stdout.readline()
    if not ready:
        text = (folder / "start.log").read_text().strip()
        if process.wait() == 77:
            pytest.skip(f"no Slurm here: {text.splitlines()[-1]}")
        raise AssertionError(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLURM_CONF", str(folder / "slurm.conf"))
        patch.setenv("PYTHONPATH", str(project))
        yield folder
    process.stdin.close()
    process.stdout.close()
    process.wait(timeout=60)


@pytest.fixture(autouse=True)
def _no_controller_left() -> Iterator[None]:
    yield
    for process in STARTED:
        if process.poll() is None:
            process.kill()
            process.communicate()
    STARTED.clear()


STARTED: list[subprocess.Popen[str]] = []


def start(*arguments: str, cwd: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "trustmm", *arguments, *TINY, *FAST]
    STARTED.append(subprocess.Popen(command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
    return STARTED[-1]


def end(process: subprocess.Popen[str]) -> tuple[int, str]:
    _, log = process.communicate(timeout=PATIENCE)
    return process.returncode, log


def until(condition: Callable[[], Any], process: subprocess.Popen[str] | None = None) -> Any:
    deadline = time.monotonic() + PATIENCE
    while not (found := condition()):
        assert time.monotonic() < deadline
        assert process is None or process.poll() is None, end(process)
        time.sleep(0.1)
    return found


def slurm_says(job: str, cluster: Path) -> dict[str, dict[str, str]]:
    """Fields of the elements of an array, by index."""
    text = subprocess.check_output(["scontrol", "--oneliner", "show", "job", job], text=True)
    rows = [dict(word.partition("=")[::2] for word in line.split() if "=" in word) for line in text.splitlines()]
    return {row["ArrayTaskId"]: row for row in rows}


def folder_of(payload: Path) -> Path:
    return Path(json.loads(payload.read_text())["task"]["folder"])


def epochs(cwd: Path, payload: Path) -> int:
    path = cwd / folder_of(payload) / "history.jsonl"
    return len(path.read_text().splitlines()) if path.exists() else 0


def continues(cwd: Path, payload: Path) -> bool:
    """Whether a job has found the checkpoint of an earlier attempt."""
    return "backbone continues after epoch" in (cwd / folder_of(payload) / "job.log").read_text()


def payloads(cwd: Path) -> list[Path]:
    """Of all arrays so far, the last array's last."""
    batches = sorted(cwd.glob("outputs/sweeps/*/slurm/????????"), key=lambda path: path.stat().st_mtime)
    return [path for batch in batches for path in sorted(batch.glob("*.json"))]


def arrays(cwd: Path) -> list[str]:
    return sorted((path.stem for path in cwd.glob("outputs/sweeps/*/slurm/*/[0-9]*.sh")), key=int)


def process_of(payload: Path) -> int:
    """The Python process that works on it."""
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if str(payload).encode() in words and b"trustmm.cli.slurm_job" in words and b"srun" not in words[0]:
            return int(entry.name)
    raise AssertionError(f"no process works on {payload}")


def pause(cwd: Path, payload: Path, controller: subprocess.Popen[str]) -> int:
    """Stop the process of a job as soon as it continues its training, however fast the machine is."""
    until(lambda: continues(cwd, payload), controller)
    process = process_of(payload)
    os.kill(process, signal.SIGSTOP)
    return process


def read_until(text: str, process: subprocess.Popen[str]) -> None:
    """Read the log of a controller up to a line with this text."""
    assert process.stderr is not None
    for line in process.stderr:
        if text in line:
            return
    raise AssertionError(f"{text!r} is not in the log")


def cells(cwd: Path) -> list[dict[str, str]]:
    (path,) = cwd.glob("outputs/sweeps/*/cells.csv")
    with path.open(newline="") as handle:
        return list(csv.DictReader(handle))


def numbers(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    summary = json.loads((folder / "result.json").read_text())
    with np.load(folder / "per_user.npz", allow_pickle=False) as stored:
        arrays = {name: stored[name].tolist() for name in stored.files}
    return {name: summary[name] for name in ("job_id", "valid", "test", "best_epoch", "epochs")}, arrays


def test_killed_and_cancelled_jobs_fail_alone_and_the_repeated_command_completes_the_sweep(
    cluster: Path, tmp_path: Path
) -> None:
    command = ("-m", *LAUNCHER, "hydra.launcher.gpus_per_node=1", "training.epochs=2,1000", "seed=0,1")
    first = start(*command, cwd=tmp_path)
    running = until(lambda: len(found := payloads(tmp_path)) == 4 and found, first)
    until(lambda: min(epochs(tmp_path, payload) for payload in running[2:]) > 30, first)
    os.kill(process_of(running[2]), signal.SIGKILL)
    (array,) = arrays(tmp_path)
    subprocess.run(["scancel", f"{array}_3"], check=True)
    status, log = end(first)
    assert status == 1, log
    assert "cancelled in Slurm" in log
    assert "killed (signal 9), possibly out of memory" in log
    assert len(cells(tmp_path)) == 2

    second = start(*command, cwd=tmp_path)
    again = until(lambda: len(found := payloads(tmp_path)) == 6 and found[4:], second)
    paused = [pause(tmp_path, payload, second) for payload in again]
    second.kill()
    end(second)
    third = start(*command, cwd=tmp_path)
    for _ in paused:
        read_until("is already in Slurm as", third)
    for process in paused:
        os.kill(process, signal.SIGCONT)
    status, log = end(third)
    assert status == 0, log
    assert len(arrays(tmp_path)) == 2
    assert len(cells(tmp_path)) == 4
    for payload in again:
        assert continues(tmp_path, payload)
        assert numbers(tmp_path / folder_of(payload))[0]["epochs"] == 1000


def test_preempted_job_continues_to_the_same_numbers(cluster: Path, tmp_path: Path) -> None:
    plain = start("training.epochs=500", "output_dir=whole", cwd=tmp_path)
    status, log = end(plain)
    assert status == 0, log
    (whole,) = (path.parent for path in tmp_path.glob("whole/*/result.json"))
    sweep = start("-m", *LAUNCHER, "hydra.launcher.cpus_per_task=2", "training.epochs=500", cwd=tmp_path)
    (payload,) = until(lambda: payloads(tmp_path), sweep)
    until(lambda: epochs(tmp_path, payload) > 30, sweep)
    (array,) = arrays(tmp_path)
    urgent = ["sbatch", "--partition=urgent", "--cpus-per-task=2", f"--output={tmp_path}/urgent", "--wrap=id"]
    subprocess.run(urgent, check=True, timeout=PATIENCE, cwd=tmp_path, stdout=subprocess.DEVNULL)
    until(lambda: slurm_says(array, cluster)["0"]["JobState"] == "PENDING", sweep)
    soon = ["scontrol", "update", f"JobId={array}_0", "StartTime=now"]  # by itself it would wait for two minutes
    subprocess.run(soon, check=True)
    status, log = end(sweep)
    assert status == 0, log
    assert slurm_says(array, cluster)["0"]["Restarts"] == "1"
    folder = tmp_path / folder_of(payload)
    assert "backbone continues after epoch" in (folder / "job.log").read_text()
    assert numbers(folder) == numbers(whole)


def test_job_that_raises_is_failed_in_slurm_too_and_an_interrupted_sweep_cancels_its_jobs(
    cluster: Path, tmp_path: Path
) -> None:
    tmp_path = tmp_path / "100%j a%A it's"
    tmp_path.mkdir()
    rates = start("-m", *LAUNCHER, "training.epochs=2", "training.learning_rate=0.001,1e38", cwd=tmp_path)
    status, log = end(rates)
    assert status == 1
    assert "try a smaller training.learning_rate" in log
    (array,) = arrays(tmp_path)
    states = {index: (row["JobState"], row["ExitCode"]) for index, row in slurm_says(array, cluster).items()}
    assert states == {"0": ("COMPLETED", "0:0"), "1": ("FAILED", "1:0")}
    (logs,) = tmp_path.glob("outputs/sweeps/*/slurm/logs")
    assert {f"{array}_{index}_0_log.{end}" for index in "01" for end in ("out", "err")} == set(os.listdir(logs))
    assert os.listdir(tmp_path.parent) == [tmp_path.name]

    sweep = start("-m", *LAUNCHER, LONG, "seed=0,1", cwd=tmp_path)
    warned, cancelled = until(lambda: len(found := payloads(tmp_path)) == 4 and found[2:], sweep)
    until(lambda: min(epochs(tmp_path, warned), epochs(tmp_path, cancelled)) > 0, sweep)
    subprocess.run(["scancel", "--signal=USR2", f"{arrays(tmp_path)[-1]}_0"], check=True)
    left = warned.parents[2] / "outcomes" / f"{folder_of(warned).name}.json"
    outcome = json.loads(until(lambda: left.exists() and left.read_text(), sweep))
    assert (outcome["status"], outcome["reason"].partition(" (")[0]) == (
        "KILLED",
        "timeout: came near Slurm's time limit",
    )
    until(lambda: slurm_says(arrays(tmp_path)[-1], cluster)["0"]["JobState"] == "FAILED", sweep)
    sweep.send_signal(signal.SIGINT)
    status, log = end(sweep)
    assert status == 130, log
    states = {index: row["JobState"] for index, row in slurm_says(arrays(tmp_path)[-1], cluster).items()}
    assert states == {"0": "FAILED", "1": "CANCELLED"}


def test_refused_jobs_are_one_message(cluster: Path, tmp_path: Path) -> None:
    status, log = end(start("-m", *LAUNCHER, "hydra.launcher.partition=nowhere", "seed=0,1", cwd=tmp_path))
    assert status == 1
    assert "Slurm refused the jobs" in log
    assert "invalid partition" in log
    assert "Traceback" not in log
