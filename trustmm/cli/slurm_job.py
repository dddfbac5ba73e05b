"""What Slurm starts: one task in this process; exit status 1 unless it finished, so that Slurm says FAILED."""

import os
import signal
import sys
from pathlib import Path
from types import FrameType

from trustmm.process.threads import announce, bound, slurm_share


def main(path: Path) -> int:
    """Run the assignment in the JSON file `path`; the exit status."""
    threads = slurm_share()
    announce(threads)  # before anything below loads a library that looks only once
    from trustmm.cli.pages import work
    from trustmm.sweep.pool.pool import log_to
    from trustmm.sweep.worker import Assignment, forget_outcome

    signal.signal(signal.SIGUSR2, _time_is_up)
    assignment = Assignment.from_json(path.read_text(encoding="utf-8"))
    forget_outcome(assignment)  # of a run that was preempted
    log_to(assignment)
    bound(threads)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # but for `work`: Slurm repeats it while the outcome is written
    return 0 if work(assignment).status == "FINISHED" else 1


def _time_is_up(number: int, frame: FrameType | None) -> None:
    """Slurm's warning before the time limit, which submitit asks for: end while there is time to say so."""
    from trustmm.process.signals import explain_termination

    explain_termination("timeout: came near Slurm's time limit (hydra.launcher.timeout_min)")
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
