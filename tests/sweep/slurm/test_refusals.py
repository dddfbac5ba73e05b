"""A Slurm that refuses for the moment: waited for and tried again, never the end of a sweep."""

from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import pytest

from trustmm.sweep.engine import Task
from trustmm.sweep.slurm import engine
from trustmm.sweep.slurm.engine import SlurmExecutor
from trustmm.sweep.slurm.state import JobState, SlurmSilent, cancel, passes, submit
from trustmm.sweep.worker import Assignment

REFUSALS = [
    "sbatch: error: AssocMaxSubmitJobLimit",
    "sbatch: error: QOSMaxSubmitJobPerUserLimit",
    "Batch job submission failed: Job violates accounting/QOS policy (job submit limit, size and/or time limits)",
    "sbatch: error: Batch job submission failed: Unable to contact slurm controller (connect failure)",
    "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation",
    "sbatch: error: Slurm temporarily unable to accept job, sleeping and retrying",
    "Batch job submission failed: Resource temporarily unavailable",
]


@pytest.mark.parametrize("refusal", REFUSALS)
def test_limits_and_outages_pass(refusal: str) -> None:
    assert passes(refusal)


@pytest.mark.parametrize(
    "refusal",
    [
        "sbatch: error: invalid partition specified: gpuu",
        "Batch job submission failed: Invalid account or account/partition combination specified",
        "Batch job submission failed: Requested node configuration is not available",
    ],
)
def test_mistakes_do_not(refusal: str) -> None:
    assert not passes(refusal)


@dataclass
class Cluster:
    """Takes arrays of at most `most` jobs, after `silent` refusals of each command."""

    most: int = 1000
    silent: dict[str, int] = field(default_factory=dict)
    arrays: list[int] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)

    def _answer(self, command: str) -> None:
        if self.silent.get(command, 0):
            self.silent[command] -= 1
            raise SlurmSilent("Unable to contact slurm controller")

    def sbatch(self, executor: object, batch: Path, count: int) -> str:
        self._answer("sbatch")
        if count > self.most:
            raise SlurmSilent("QOSMaxSubmitJobPerUserLimit")
        self.arrays.append(count)
        return str(len(self.arrays))

    def states(self, slurm_ids: list[str]) -> dict[str, JobState]:
        self._answer("scontrol")
        ended = {slurm_id: "CANCELLED" if slurm_id in self.cancelled else "TIMEOUT" for slurm_id in slurm_ids}
        return {slurm_id: JobState(state, 0, "x") for slurm_id, state in ended.items()}

    def cancel(self, slurm_ids: list[str]) -> None:
        self._answer("scancel")
        self.cancelled += slurm_ids


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    found = Cluster()
    for name, do in (("_sbatch", found.sbatch), ("job_states", found.states), ("cancel", found.cancel)):
        monkeypatch.setattr(engine, name, do)
    monkeypatch.setattr(engine, "_submitit_executor", lambda *arguments: None)
    monkeypatch.setattr(engine, "LONGEST_PAUSE", 0.05)
    return found


def executor(folder: Path) -> SlurmExecutor:
    def assignment(task: Task) -> Assignment:
        return Assignment(task, "", {}, None, folder)

    options = SimpleNamespace(poll=0.01, grace=5.0, array_parallelism=64)
    return SlurmExecutor(assignment, folder / "slurm", options)  # type: ignore[arg-type]


def tasks(count: int) -> list[Task]:
    return [Task(number, (), f"job{number}", Path(f"job{number}")) for number in range(count)]


@pytest.mark.parametrize("command", ["sbatch", "scontrol"])
def test_an_outage_is_waited_for(command: str, cluster: Cluster, tmp_path: Path) -> None:
    cluster.silent[command] = 5
    with executor(tmp_path) as running:
        for task in tasks(3):
            running.submit(task)
        ended = [running.wait() for _ in range(3)]
    assert sorted(task.number for task, _ in ended) == [0, 1, 2]
    assert cluster.silent[command] == 0


def test_a_limit_between_is_found_by_halving(cluster: Cluster, tmp_path: Path) -> None:
    cluster.most = 3
    with executor(tmp_path) as running:
        for task in tasks(10):
            running.submit(task)
        ended = [running.wait() for _ in range(10)]
    assert sorted(task.number for task, _ in ended) == list(range(10))
    assert max(cluster.arrays) <= 3


def test_a_cancel_that_is_not_heard_is_told_again(cluster: Cluster, tmp_path: Path) -> None:
    cluster.silent["scancel"] = 3
    (task,) = tasks(1)
    with executor(tmp_path) as running:
        running.submit(task)
        running._flush()
        running.stop(task, "pruned")
        ended, outcome = running.wait()
    assert (ended, outcome.status, outcome.reason) == (task, "KILLED", "pruned")


def test_a_controller_that_starts_in_an_outage_finds_its_jobs(cluster: Cluster, tmp_path: Path) -> None:
    (tmp_path / "slurm").mkdir()
    (tmp_path / "slurm" / "jobs.json").write_text('{"job0": "7_0"}')
    cluster.silent["scontrol"] = 3
    with executor(tmp_path):
        assert cluster.silent["scontrol"] == 0


def test_scancel_of_a_silent_controller_is_no_success(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "scancel"
    script.write_text("#!/bin/sh\necho 'scancel: error: Unable to contact slurm controller' >&2\nexit 1\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(SlurmSilent, match="Unable to contact"):
        cancel(["7_0"])


def command(folder: Path, name: str, body: str) -> None:
    script = folder / name
    script.write_text(f"#!/bin/sh\n{body}\n")
    script.chmod(0o755)


@pytest.mark.parametrize(("said", "kind"), [(REFUSALS[0], SlurmSilent), ("invalid partition specified", ValueError)])
def test_a_refusal_of_sbatch_is_told_by_what_it_says(
    said: str, kind: type[Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command(tmp_path, "sbatch", f"echo '{said}' >&2; exit 1")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(kind, match=said.split()[-1]):
        submit(tmp_path / "script")
