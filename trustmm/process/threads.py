"""Sets the number of threads of a process before numpy, torch or a BLAS is loaded, and imports nothing heavy.

A library reads its variable only once, when it is loaded. `bound` limits libraries that have already been loaded.
"""

import os
from collections.abc import Mapping

VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS", "NUMEXPR_NUM_THREADS")


def variables(threads: int) -> Mapping[str, str]:
    """Environment variables that set the number of threads of the libraries."""
    return dict.fromkeys(VARIABLES, str(threads))


def announce(threads: int) -> None:
    """Set the number of threads for libraries that are loaded later."""
    os.environ.update(variables(threads))


def bound(threads: int) -> None:
    """Limit the libraries that are already loaded, including torch, to this number from now on."""
    import torch
    from threadpoolctl import threadpool_limits

    announce(threads)
    threadpool_limits(limits=threads)
    torch.set_num_threads(threads)


def slurm_share() -> int:
    """Number of cores that Slurm gave to this process."""
    return min(int(os.environ.get("SLURM_CPUS_PER_TASK", "1")), len(os.sched_getaffinity(0)))
