"""``hydra/sweeper=trustmm_optuna``: studies with Optuna on any engine of this package."""

from dataclasses import dataclass
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from trustmm.study.options import StudyOptions


@dataclass
class OptunaSweeperConfig(StudyOptions):
    """The options of a study, as a node of Hydra's configuration."""

    _target_: str = "hydra_plugins.trustmm_optuna.sweeper.OptunaSweeper"


ConfigStore.instance().store(
    group="hydra/sweeper", name="trustmm_optuna", node=OptunaSweeperConfig, provider="trustmm_optuna"
)


class OptunaSweeper(Sweeper):
    """Hands Hydra's objects over to `trustmm.study.command`.

    Args:
        options: fields of `StudyOptions`.
    """

    def __init__(self, **options: Any) -> None:
        self.options = StudyOptions(**{name: _plain(value) for name, value in options.items()})

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Hydra's first call."""
        from hydra.core.plugins import Plugins

        self.hydra_context, self.config = hydra_context, config
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> Any:
        """Run the studies that the options and the command line ask for."""
        from trustmm.cli.pages import draw_study
        from trustmm.study.command import run_studies

        assert self.config is not None
        assert self.hydra_context is not None
        loader = self.hydra_context.config_loader
        return run_studies(self.options, arguments, self.config, self.launcher, loader, draw_study)


def _plain(value: Any) -> Any:
    return OmegaConf.to_object(value) if OmegaConf.is_config(value) else value
