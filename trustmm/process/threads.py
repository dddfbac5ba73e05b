"""How many threads a process computes with, said before numpy, torch or any BLAS is loaded. Imports nothing heavy.

A library reads its variable once, when it is loaded: too late is never. `bound` then holds what was loaded anyhow.
"""

import os
from collections.abc import Mapping

VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS", "NUMEXPR_NUM_THREADS")


def variables(threads: int) -> Mapping[str, str]:
    """What tells every library the number of threads."""
    return dict.fromkeys(VARIABLES, str(threads))


def announce(threads: int) -> None:
    """Tell the libraries that this process has yet to load."""
    os.environ.update(variables(threads))


def bound(threads: int) -> None:
    """Hold the libraries that are loaded, torch among them, to this number from now on."""
    import torch
    from threadpoolctl import threadpool_limits

    announce(threads)
    threadpool_limits(limits=threads)
    torch.set_num_threads(threads)


def slurm_share() -> int:
    """Cores that Slurm gave to this process."""
    return min(int(os.environ.get("SLURM_CPUS_PER_TASK", "1")), len(os.sched_getaffinity(0)))
