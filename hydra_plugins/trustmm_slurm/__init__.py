"""Hydra's view of Slurm: ``hydra/launcher=trustmm_slurm``. The work is in `trustmm.sweep`, imported when used."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hydra.core.config_store import ConfigStore

from trustmm.cli.pages import sweep_page
from trustmm.sweep.launch import SweepLauncher

if TYPE_CHECKING:
    from trustmm.sweep.engine import Executor


@dataclass
class SlurmConfig:
    """Keys of the launcher on the command line, as ``hydra.launcher.partition=gpu``; null leaves it to the cluster."""

    _target_: str = "hydra_plugins.trustmm_slurm.SlurmLauncher"
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    timeout_min: int = 1440
    """Time limit of a job, in minutes."""
    cpus_per_task: int = 4
    """CPU cores, and threads, of a job."""
    mem_gb: float | None = None
    """Memory of a job."""
    gpus_per_node: int = 0
    """GPUs of a job: 1 or none; or name them in gres."""
    gres: str | None = None
    """Generic resources of a job, such as gpu:a100:1."""
    array_parallelism: int = 64
    """Most jobs of the sweep at a time."""
    requeue: bool = True
    """Queue a job again that was preempted or whose node failed; it continues from its checkpoint."""
    signal_delay_s: int = 60
    """Seconds before its time limit that a job is told to end."""
    setup: list[str] = field(default_factory=list)
    """Lines of shell before the job, such as "module load cuda"."""
    python: str | None = None
    """The interpreter on the nodes, or a command that runs one; null: this one."""
    additional_parameters: dict[str, Any] = field(default_factory=dict)
    """Any other option of sbatch, such as {reservation: mine}."""
    poll: float = 10.0
    """Seconds between two questions to Slurm."""
    grace: float = 60.0
    """Seconds to wait for cancelled jobs when the sweep is interrupted."""


class SlurmLauncher(SweepLauncher):
    """Jobs of a Slurm cluster; see `SlurmConfig`."""

    page = staticmethod(sweep_page)

    def __init__(self, **options: Any) -> None:
        self.options = options

    def executor(self, num_tasks: int | None = None) -> "Executor":
        """The cluster."""
        from trustmm.sweep.slurm.engine import slurm

        return slurm(self.sweep.assignment, self.sweep.folder, self.options)


ConfigStore.instance().store(group="hydra/launcher", name="trustmm_slurm", node=SlurmConfig, provider="trustmm")
