"""Which job runs where on one machine: GPUs by turns, CPU threads by shares."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Placement:
    """Places for jobs that run side by side."""

    slots: Sequence[str | None]
    """For each place the GPU that its job sees, as CUDA_VISIBLE_DEVICES has it: "" hides all, None leaves it alone."""
    threads: int
    """CPU threads of each job: threads beyond the cores wait for each other by spinning, many times slower."""


def place(
    *,
    n_workers: int | Literal["auto"],
    jobs_per_gpu: int,
    threads: int | Literal["auto"],
    gpus: Sequence[str],
    num_cpus: int,
    most_threads: int | None = None,
    num_tasks: int | None = None,
    hide: bool = False,
) -> Placement:
    """Divide a machine among jobs.

    Args:
        n_workers: jobs at a time; auto is one per place on the GPUs, or one per CPU core where there is no GPU.
        jobs_per_gpu: places on each GPU, at least 1.
        threads: of each job; auto divides the cores.
        gpus: the machine's, or none to leave them alone.
        num_cpus: cores that this process may use.
        most_threads: of each job with auto, if the user gave a bound.
        num_tasks: there are no more places than this; threads do not depend on it, so that the last jobs of a sweep,
            which run alone, add up in the same order as the others.
        hide: whether jobs must not see the machine's GPUs.
    """
    on_gpus: list[str | None] = [gpu for _ in range(jobs_per_gpu) for gpu in gpus]
    limits = [len(on_gpus)] if on_gpus else []
    limits += [num_cpus if limits == [] else len(on_gpus)] if n_workers == "auto" else [n_workers]
    share = max(1, num_cpus // max(1, min(limits)))
    count = max(1, min(limits if num_tasks is None else [*limits, num_tasks]))
    fair = share if most_threads is None else min(share, most_threads)
    return Placement(on_gpus[:count] or ["" if hide else None] * count, fair if threads == "auto" else threads)


def visible_gpus() -> list[str]:
    """The GPUs of this machine that this process may use, found without initialising CUDA."""
    import torch

    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    count = torch.cuda.device_count()
    if not named:
        return [str(number) for number in range(count)]
    names = [word.strip() for word in named.split(",")]
    return names if count and names[0].startswith("MIG-") else names[:count]  # CUDA counts one slice, whatever is named


def usable_cpus() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


def asked_threads() -> int | None:
    """OMP_NUM_THREADS, by which users say that a process is not alone on its machine; None if it is not a number."""
    given = os.environ.get("OMP_NUM_THREADS", "").strip()
    return int(given) if given.isdecimal() and int(given) else None
