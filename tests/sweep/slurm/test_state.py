"""What becomes of a job by what Slurm says: its commands replaced by scripts with known answers."""

import shlex
from pathlib import Path

import pytest

from trustmm.sweep.engine import Outcome
from trustmm.sweep.slurm import engine
from trustmm.sweep.slurm.engine import SlurmOptions, end_of, slurm, vanished
from trustmm.sweep.slurm.state import JobState, SlurmSilent, job_states
from trustmm.sweep.worker import UNWRITTEN, death

LINE = (
    "JobId={id} ArrayJobId=7 ArrayTaskId={index} JobName=trustmm-x JobState={state} Reason={reason} ExitCode={code} A=b"
)


def command(folder: Path, name: str, text: str = "", error: str = "", status: int = 0) -> None:
    """An executable with one answer."""
    (folder / f"{name}.out").write_text(text)
    (folder / f"{name}.err").write_text(error)
    path = folder / name
    path.write_text(f'#!/bin/sh\necho "$@" >>{folder}/calls\ncat {path}.out\ncat {path}.err >&2\nexit {status}\n')
    path.chmod(0o755)


@pytest.fixture
def answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    command(tmp_path, "sacct", error="Slurm accounting storage is disabled\n", status=1)
    return tmp_path


def line(index: str, state: str, code: str = "0:0", reason: str = "None") -> str:
    return LINE.format(id=7, index=index, state=state, code=code, reason=reason) + "\n"


def test_states_of_an_array_with_elements_that_wait_together(answers: Path) -> None:
    text = line("2-4,9%2", "PENDING", reason="Resources") + line("0", "RUNNING") + line("1", "FAILED", "137:0")
    command(answers, "scontrol", text)
    states = job_states(["7_0", "7_1", "7_3", "7_9"])
    assert {key: state.state for key, state in states.items()} == {
        "7_0": "RUNNING",
        "7_1": "FAILED",
        "7_3": "PENDING",
        "7_9": "PENDING",
    }
    assert states["7_1"].exit_code == -9
    assert states["7_3"].name == "trustmm-x"
    assert [states[key].active for key in ("7_0", "7_1", "7_9")] == [True, False, True]
    assert (answers / "calls").read_text().splitlines() == ["--oneliner show job 7"]


@pytest.mark.parametrize(
    ("code", "expected"),
    [("0:0", 0), ("1:0", 1), ("137:0", -9), ("0:9", -9), ("143:0", -15), ("2:0", 2), ("128:0", 128)],
)
def test_exit_codes_below_zero_are_signals(code: str, expected: int, answers: Path) -> None:
    command(answers, "scontrol", line("0", "FAILED", code))
    assert job_states(["7_0"])["7_0"].exit_code == expected


def test_accounting_knows_what_the_controller_forgot(answers: Path) -> None:
    command(answers, "scontrol", error="slurm_load_jobs error: Invalid job id specified\n", status=1)
    rows = "7_0|COMPLETED|0:0|trustmm-x\n7_1|CANCELLED by 0|0:15|trustmm-x\n7_[2-3%1]|PENDING|0:0|trustmm-x\n"
    command(answers, "sacct", rows)
    states = job_states(["7_0", "7_1", "7_2", "7_3", "7_4"])
    assert [states[f"7_{index}"].state for index in range(4)] == ["COMPLETED", "CANCELLED", "PENDING", "PENDING"]
    assert "7_4" not in states


def test_forgotten_jobs_without_accounting_have_no_state(answers: Path) -> None:
    command(answers, "scontrol", error="slurm_load_jobs error: Invalid job id specified\n", status=1)
    assert job_states(["7_0"]) == {}


def test_controller_that_does_not_answer_is_no_end_of_its_jobs(answers: Path) -> None:
    command(answers, "scontrol", error="Unable to contact slurm controller (connect failure)\n", status=1)
    with pytest.raises(SlurmSilent, match="Unable to contact"):
        job_states(["7_0"])


@pytest.mark.parametrize(
    ("reason", "stuck"), [("Resources", False), ("Priority", False), ("PartitionTimeLimit", True), ("QOSLimit", True)]
)
def test_job_that_waits_for_more_than_its_turn_is_stuck(reason: str, stuck: bool) -> None:
    assert JobState("PENDING", 0, "x", reason).stuck == stuck
    assert not JobState("RUNNING", 0, "x", reason).stuck


LEFT = Outcome("FAILED", "loss is nan", "run")
TERMINATED = Outcome("KILLED", "received SIGTERM", "run")


@pytest.mark.parametrize(
    ("state", "code", "left", "stopped", "expected"),
    [
        ("COMPLETED", 0, Outcome("FINISHED", "", "run"), "", Outcome("FINISHED", "", "run")),
        ("COMPLETED", 0, None, "", Outcome("FAILED", "its process ended with status 0 and left no result")),
        ("FAILED", 1, LEFT, "", LEFT),
        ("FAILED", -9, None, "", Outcome("FAILED", "killed (signal 9), possibly out of memory")),
        ("FAILED", UNWRITTEN, None, "", Outcome("FAILED", death(UNWRITTEN, Path("a/1.json")))),
        ("FAILED", 1, TERMINATED, "", TERMINATED),
        ("CANCELLED", 0, TERMINATED, "", Outcome("KILLED", "cancelled in Slurm", "run")),
        ("CANCELLED", 0, None, "pruned", Outcome("KILLED", "pruned")),
        ("CANCELLED", 0, Outcome("FINISHED", "", "run"), "pruned", Outcome("FINISHED", "", "run")),
        ("TIMEOUT", 0, None, "", Outcome("KILLED", "timeout: reached Slurm's time limit (TIMEOUT)")),
        (
            "OUT_OF_MEMORY",
            0,
            None,
            "",
            Outcome("FAILED", "out of memory (more than Slurm gave it; hydra.launcher.mem_gb)"),
        ),
        ("NODE_FAIL", 0, None, "", Outcome("FAILED", "its node failed (NODE_FAIL)")),
        ("PREEMPTED", 0, TERMINATED, "", Outcome("KILLED", "preempted, and Slurm did not requeue it", "run")),
    ],
)
def test_end_of_a_job(state: str, code: int, left: Outcome | None, stopped: str, expected: Outcome) -> None:
    assert end_of(JobState(state, code, "x"), left, stopped, Path("a/1.json")) == expected


def test_job_that_vanished_while_it_waited_was_cancelled() -> None:
    waiting = JobState("PENDING", 0, "x")
    assert vanished(waiting, "7_0", "") == Outcome("KILLED", "cancelled in Slurm before it started")
    assert vanished(waiting, "7_0", "pruned") == Outcome("KILLED", "pruned")
    assert vanished(None, "7_0", "").status == "FAILED"


OPTIONS = {
    "partition": "gpu",
    "account": None,
    "qos": None,
    "constraint": None,
    "timeout_min": 90,
    "cpus_per_task": 2,
    "mem_gb": 1.5,
    "gpus_per_node": 0,
    "gres": "gpu:a100:1",
    "array_parallelism": 3,
    "requeue": True,
    "signal_delay_s": 60,
    "setup": ["module load cuda"],
    "python": None,
    "additional_parameters": {"reservation": "mine"},
    "poll": 1.0,
    "grace": 5.0,
}


def test_options_reach_the_batch_file(tmp_path: Path) -> None:
    from submitit.slurm.slurm import _make_sbatch_string

    options = SlurmOptions(**OPTIONS)
    text = _make_sbatch_string(command="x", folder=tmp_path, map_count=5, **options.parameters("trustmm-abc", tmp_path))
    for flag in (
        "--array=0-4%3",
        "--partition=gpu",
        "--gres=gpu:a100:1",
        "--mem=1536M",
        "--time=90",
        "--cpus-per-task=2",
        "--requeue",
        "--reservation=mine",
        "--job-name=trustmm-abc",
        "--signal=USR2@60",
    ):
        assert f"#SBATCH {flag}\n" in text
    assert "module load cuda\n" in text
    assert "gpus-per-node" not in text
    assert "account" not in text


def test_signs_of_a_folder_are_not_slurms_and_nothing_leaves_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`%j` of an array would be replaced, the script moved to a folder of that name, and every log written there."""
    pytest.importorskip("submitit")
    for name in ("srun", "sbatch"):
        (tmp_path / name).write_text("#!/bin/sh\necho Submitted batch job 17\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    odd = tmp_path / "100%j" / "a%A it's" / "slurm"
    executor = engine._submitit_executor(odd, SlurmOptions(**OPTIONS), "trustmm-abc")
    batch = odd / "batch"
    batch.mkdir(parents=True)
    assert engine._sbatch(executor, batch, 2) == "17"
    text = (batch / "17.sh").read_text()
    expected = f"{tmp_path}/100%%j/a%%A it's/slurm/logs/%A_%a_0_log"
    (flag,) = (line for line in text.splitlines() if line.startswith("#SBATCH --output="))
    (run,) = (shlex.split(line) for line in text.splitlines() if line.startswith("srun "))
    assert shlex.split(flag)[1] == f"--output={expected}.out"
    assert [word for word in run if word.startswith("--output=")] == [f"--output={expected}.out"]
    assert [word for word in run if word.startswith("--error=")] == [f"--error={expected}.err"]
    assert {path.name for path in tmp_path.iterdir()} == {"srun", "sbatch", "100%j"}


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("timeout_min", 0, "hydra.launcher.timeout_min must be in"),
        ("gpus_per_node", "one", "hydra.launcher.gpus_per_node must be an integer, got 'one'"),
        ("array_parallelism", 0, "hydra.launcher.array_parallelism must be in"),
        ("requeue", "yes", "hydra.launcher.requeue must be true or false"),
    ],
)
def test_bad_option_is_named(key: str, value: object, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        slurm(lambda task: None, tmp_path, OPTIONS | {key: value})


def test_machine_without_slurm_is_one_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ValueError, match="this machine has no Slurm"), slurm(lambda task: None, tmp_path, OPTIONS):
        pass
