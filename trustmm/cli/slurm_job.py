"""What Slurm starts: one task in this process; its exit status is not 0 unless it finished: Slurm says FAILED."""

import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import NoReturn

from trustmm.process.threads import announce, bound, slurm_share


def main(path: Path) -> NoReturn:
    """Run the assignment in the JSON file `path`, and end."""
    threads = slurm_share()
    announce(threads)  # before anything below loads a library that looks only once
    from trustmm.cli.pages import work
    from trustmm.sweep.pool.pool import log_to
    from trustmm.sweep.worker import Assignment, end, end_before_start, forget_outcome

    signal.signal(signal.SIGUSR2, _time_is_up)
    assignment = Assignment.from_json(path.read_text(encoding="utf-8"))
    forget_outcome(assignment)  # of a run that was preempted
    try:
        log_to(assignment)
    except OSError as error:
        end_before_start(assignment, error)
    bound(threads)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # but for `work`: Slurm repeats it while the outcome is written
    end(assignment, work(assignment))


def _time_is_up(number: int, frame: FrameType | None) -> None:
    """Slurm's warning before the time limit, which submitit asks for: end while there is time to say so."""
    from trustmm.process.signals import explain_termination

    explain_termination("timeout: came near Slurm's time limit (hydra.launcher.timeout_min)")
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
