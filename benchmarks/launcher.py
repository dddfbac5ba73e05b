"""What the pool adds to a job: tasks that do nothing, one at a time, from their start to their outcome.

python benchmarks/launcher.py [number of tasks]
"""

import statistics
import sys
import tempfile
import time
from pathlib import Path

from trustmm.sweep.engine import Outcome, Task
from trustmm.sweep.pool.placement import Placement
from trustmm.sweep.pool.pool import PRELOAD, PRELOAD_TRACKING, PoolExecutor
from trustmm.sweep.worker import Assignment, leave_outcome


def run(assignment: Assignment) -> Outcome:
    """Nothing, and say so."""
    outcome = Outcome("FINISHED")
    leave_outcome(assignment, outcome)
    return outcome


def main(num_tasks: int) -> None:
    """Print the first task's time, which waits for the fork server's imports, and the others'."""
    folder = Path(tempfile.mkdtemp())
    assignment = {
        number: Assignment(Task(number, (), str(number), folder / str(number)), "", {}, None, folder)
        for number in range(num_tasks + 1)
    }
    preload = PRELOAD + PRELOAD_TRACKING
    seconds = []
    with PoolExecutor(lambda task: assignment[task.number], run, Placement([None], 1), preload=preload) as pool:
        for number in range(num_tasks + 1):
            started = time.perf_counter()
            pool.submit(assignment[number].task)
            pool.wait()
            seconds.append(time.perf_counter() - started)
    rest = seconds[1:]
    print(f"first task, with the fork server's imports: {seconds[0]:.1f} s")
    print(f"each of {num_tasks} more: median {statistics.median(rest):.3f} s, longest {max(rest):.3f} s")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
