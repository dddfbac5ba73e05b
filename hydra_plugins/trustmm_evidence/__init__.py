"""``hydra/sweeper=trustmm_evidence``: seeds where they decide something. The work is in `trustmm.study.evidence`."""

from dataclasses import dataclass
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from trustmm.study.evidence_options import EvidenceOptions


@dataclass
class EvidenceSweeperConfig(EvidenceOptions):
    """The options of a study, as a node of Hydra's configuration."""

    _target_: str = "hydra_plugins.trustmm_evidence.EvidenceSweeper"


ConfigStore.instance().store(
    group="hydra/sweeper", name="trustmm_evidence", node=EvidenceSweeperConfig, provider="trustmm_evidence"
)


class EvidenceSweeper(Sweeper):
    """Hands Hydra's objects over to `trustmm.study.evidence`.

    Args:
        options: fields of `EvidenceOptions`.
    """

    def __init__(self, **options: Any) -> None:
        plain: Any = OmegaConf.to_object(OmegaConf.create(options))
        self.options = EvidenceOptions(**plain)

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Hydra's first call."""
        from hydra.core.plugins import Plugins

        self.hydra_context, self.config = hydra_context, config
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> Any:
        """Run the comparisons until each is decided."""
        from pathlib import Path

        from trustmm.study.evidence import run_evidence

        assert self.config is not None
        assert self.hydra_context is not None
        folder = Path(self.config.hydra.sweep.dir)
        return run_evidence(self.options, arguments, folder, self.launcher, self.hydra_context.config_loader)
