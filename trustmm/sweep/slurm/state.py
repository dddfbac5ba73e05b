"""What Slurm says about jobs: `scontrol`, which needs no accounting, then `sacct` for what it has forgotten."""

import os
import re
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ENDED = frozenset(
    {
        "BOOT_FAIL",
        "CANCELLED",
        "COMPLETED",
        "DEADLINE",
        "FAILED",
        "NODE_FAIL",
        "OUT_OF_MEMORY",
        "PREEMPTED",
        "TIMEOUT",
    }
)
"""States after which a job does not run again by itself. PREEMPTED is one only where preemption cancels."""
PATIENCE = frozenset(
    {"", "None", "Priority", "Resources", "JobArrayTaskLimit", "BeginTime", "Cleaning", "ReqNodeNotAvail"}
)
"""Reasons of waiting that pass by themselves."""
PASSING = (
    *("submit limit", "submitjob", "maxjobcount", "max_array", "job violates accounting/qos policy"),
    *("unable to contact", "socket timed out", "timed out", "temporarily", "connection refused", "try again"),
    *("communication", "zero bytes were transmitted", "slurm_load_jobs", "unexpected message", "is down"),
)
"""In what Slurm says when it has no room or is not well."""
SECONDS = 60
"""That a command of Slurm's may take."""


class SlurmSilent(RuntimeError):
    """Slurm's controller cannot be reached; its jobs may well be running."""


@dataclass(frozen=True)
class JobState:
    """One job, one element of an array."""

    state: str
    """In Slurm's words, such as RUNNING."""
    exit_code: int
    """Of its command; below 0 the signal that ended it."""
    name: str
    reason: str = ""
    """Why it waits."""

    @property
    def active(self) -> bool:
        """Whether it waits, runs, or will run again."""
        return self.state not in ENDED

    @property
    def stuck(self) -> bool:
        """Whether it waits for something other than its turn, such as a limit that it exceeds."""
        return self.state == "PENDING" and self.reason not in PATIENCE

    @property
    def left_by_itself(self) -> bool:
        """Whether its process came to its own end, and so has left an outcome."""
        return self.state in ("COMPLETED", "FAILED") and 0 <= self.exit_code <= 1


def job_states(slurm_ids: Sequence[str]) -> dict[str, JobState]:
    """State by ``ARRAY_INDEX``; without those that Slurm has forgotten.

    Raises: SlurmSilent if its controller does not answer.
    """
    wanted, found = set(slurm_ids), dict[str, JobState]()
    for array in sorted({slurm_id.partition("_")[0] for slurm_id in wanted}):
        found |= dict(_from_scontrol(array))
    forgotten = sorted({slurm_id.partition("_")[0] for slurm_id in wanted - found.keys()})
    if forgotten:
        found = dict(_from_sacct(forgotten)) | found
    return {slurm_id: state for slurm_id, state in found.items() if slurm_id in wanted}


def submit(script: Path) -> str:
    """`sbatch`; the id of the array.

    Raises:
        SlurmSilent: it has no room at the moment, or its controller does not answer.
        ValueError: it refuses what was asked.
    """
    done = subprocess.run(["sbatch", str(script)], capture_output=True, text=True, check=False)
    array = re.search(r"job (\d+)", done.stdout)
    if done.returncode == 0 and array is not None:
        return array[1]
    refusal = " ".join(f"{done.stderr} {done.stdout}".split())
    if passes(refusal):
        raise SlurmSilent(refusal)
    raise ValueError(f"Slurm refused the jobs: {refusal}")


def cancel(slurm_ids: Sequence[str]) -> None:
    """`scancel`; a job that has just ended is no mistake.

    Raises: SlurmSilent if its controller does not answer.
    """
    done = _run(["scancel", *slurm_ids])
    if done.returncode != 0 and any(word in done.stderr.lower() for word in PASSING):
        raise SlurmSilent(" ".join(done.stderr.split()))


def passes(refusal: str) -> bool:
    """Whether a refusal of `sbatch` is about the moment, a limit or an outage, and not about what was asked."""
    return any(word in refusal.lower() for word in PASSING)


def _from_scontrol(array: str) -> Iterator[tuple[str, JobState]]:
    done = _run(["scontrol", "--oneliner", "show", "job", array])
    if done.returncode != 0:
        if "Invalid job id" in done.stderr:
            return
        raise SlurmSilent(done.stderr.strip() or f"scontrol ended with status {done.returncode}")
    for line in done.stdout.splitlines():
        fields = dict(re.findall(r"(\w+)=(\S*)", line)[::-1])
        if "ArrayTaskId" in fields:
            state = JobState(fields["JobState"], _exit_code(fields["ExitCode"]), fields["JobName"], fields["Reason"])
            for index in _indices(fields["ArrayTaskId"]):
                yield f"{fields['ArrayJobId']}_{index}", state


def _from_sacct(arrays: Sequence[str]) -> Iterator[tuple[str, JobState]]:
    columns = "JobID,State,ExitCode,JobName"
    done = _run(["sacct", "--noheader", "--parsable2", "--allocations", f"--format={columns}", "-j", ",".join(arrays)])
    for line in done.stdout.splitlines() if done.returncode == 0 else []:
        job, state, code, name = line.split("|", 3)
        array, _, indices = job.partition("_")
        for index in _indices(indices.strip("[]")):
            yield f"{array}_{index}", JobState(state.split()[0], _exit_code(code), name)


def _indices(text: str) -> Iterator[int]:
    """Elements of an array as Slurm writes them: ``3``, ``0-4,7%2``."""
    for part in text.partition("%")[0].split(","):
        first, _, last = part.partition("-")
        yield from range(int(first), int(last or first) + 1)


def _exit_code(text: str) -> int:
    """``STATUS:SIGNAL``; a shell says 128 + signal for a child that a signal ended."""
    status, _, number = text.partition(":")
    if int(number):
        return -int(number)
    return 128 - int(status) if int(status) > 128 else int(status)


def _run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"SLURM_BITSTR_LEN": "0"}  # ids of long arrays in full
    try:
        return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise SlurmSilent(f"{command[0]} gave no answer within {SECONDS} s") from error
    except FileNotFoundError as error:
        raise ValueError(f"this machine has no Slurm: no {command[0]} on the PATH") from error
