"""``hydra/sweeper=trustmm_evidence``: seeds where they decide something. The work is in `trustmm.study.evidence`."""

from dataclasses import dataclass
from typing import Any

from hydra.core.config_store import ConfigStore

from trustmm.study.evidence_options import EvidenceOptions
from trustmm.study.sweeper import StudySweeper


@dataclass
class EvidenceSweeperConfig(EvidenceOptions):
    """The options of a study, as a node of Hydra's configuration."""

    _target_: str = "hydra_plugins.trustmm_evidence.EvidenceSweeper"


ConfigStore.instance().store(
    group="hydra/sweeper", name="trustmm_evidence", node=EvidenceSweeperConfig, provider="trustmm_evidence"
)


class EvidenceSweeper(StudySweeper):
    """Hands Hydra's objects over to `trustmm.study.evidence`."""

    def sweep(self, arguments: list[str]) -> Any:
        """Run the comparisons until each is decided."""
        from pathlib import Path

        from trustmm.cli.pages import evidence_page
        from trustmm.study.evidence import run_evidence

        options, folder = EvidenceOptions(**self.plain), Path(self.config.hydra.sweep.dir)
        return run_evidence(options, arguments, folder, self.launcher, self.loader, evidence_page)
