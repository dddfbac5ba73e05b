"""``hydra/sweeper=trustmm_optuna``: studies with Optuna on any engine of this package."""

from dataclasses import dataclass
from typing import Any

from hydra.core.config_store import ConfigStore

from trustmm.study.options import StudyOptions
from trustmm.study.sweeper import StudySweeper


@dataclass
class OptunaSweeperConfig(StudyOptions):
    """The options of a study, as a node of Hydra's configuration."""

    _target_: str = "hydra_plugins.trustmm_optuna.sweeper.OptunaSweeper"


ConfigStore.instance().store(
    group="hydra/sweeper", name="trustmm_optuna", node=OptunaSweeperConfig, provider="trustmm_optuna"
)


class OptunaSweeper(StudySweeper):
    """Hands Hydra's objects over to `trustmm.study.command`."""

    def sweep(self, arguments: list[str]) -> Any:
        """Run the studies that the options and the command line ask for."""
        from trustmm.cli.pages import draw_study
        from trustmm.study.command import run_studies

        options = StudyOptions(**self.plain)
        return run_studies(options, arguments, self.config, self.launcher, self.loader, draw_study)
