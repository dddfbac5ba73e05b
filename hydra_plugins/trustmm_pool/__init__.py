"""Hydra's view of the pool: ``hydra/launcher=trustmm_pool``. The work is in `trustmm.sweep`, imported when used."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hydra.core.config_store import ConfigStore

from trustmm.cli.pages import sweep_page, work
from trustmm.sweep.launch import SweepLauncher

if TYPE_CHECKING:
    from trustmm.sweep.engine import Executor


@dataclass
class PoolConfig:
    """Keys of the launcher on the command line, as ``hydra.launcher.n_workers=2``."""

    _target_: str = "hydra_plugins.trustmm_pool.PoolLauncher"
    n_workers: Any = "auto"
    """Jobs at a time: a number, or auto, one per place on the GPUs, without a GPU one per CPU core."""
    jobs_per_gpu: int = 1
    """Jobs that share a GPU."""
    gpus: Any = "auto"
    """How many GPUs to use: a number, 0 for none, or auto, all that CUDA_VISIBLE_DEVICES allows."""
    threads: Any = "auto"
    """CPU threads of each job: a number, or auto, the cores divided among the jobs, at most OMP_NUM_THREADS if set."""
    timeout: float | None = None
    """Seconds that a job may run."""
    grace: float = 30.0
    """Seconds that a job has to end itself when told to, before it is killed."""


class PoolLauncher(SweepLauncher):
    """Jobs in processes of this machine; see `PoolConfig`."""

    page = staticmethod(sweep_page)

    def __init__(self, **options: Any) -> None:
        self.options = options

    def executor(self, num_tasks: int | None = None) -> "Executor":
        """The pool, no larger than `num_tasks`."""
        from trustmm.sweep.pool.pool import pool

        tracked = any(run_id is not None for run_id in self.sweep.parents.values())
        return pool(self.sweep.assignment, work, tracked=tracked, num_tasks=num_tasks, options=self.options)


ConfigStore.instance().store(group="hydra/launcher", name="trustmm_pool", node=PoolConfig, provider="trustmm")
