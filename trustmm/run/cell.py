"""One cell of a results table: its composed configuration, its built stages and its identity."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from trustmm.options.build import build, options_of
from trustmm.options.checks import Seed, check_value
from trustmm.options.config import STAGES
from trustmm.store.digest import digest
from trustmm.store.identity import code_digest, describe, targets

if TYPE_CHECKING:
    from trustmm.dataset.data import Dataset
    from trustmm.job import Job
    from trustmm.tracking.mlflow import NoTracking

log = logging.getLogger(__name__)
UNSCIENTIFIC = frozenset({"tracking", "output_dir", "cache_dir", "resume"})
"""Top-level keys that say where and how a job is kept."""
TOP: Mapping[str, Any] = {"seed": Seed, "resume": bool, "output_dir": str, "cache_dir": str}
"""What the top-level keys may be."""
LABELS = ("dataset", "backbone", "corruption", "rectifier", "edit")
"""Groups whose chosen option names a run."""


@dataclass(frozen=True)
class Cell:
    """A job, built and range-checked, with where it is kept; nothing is read yet."""

    config: DictConfig
    """As composed, without Hydra's own node."""
    choices: Mapping[str, str]
    """The option chosen in each group."""
    job: "Job"
    read_data: Callable[[], "Dataset"]
    tracking: "NoTracking"

    def name(self, dataset: str) -> str:
        """Of the run in the tracking store."""
        damage, edit = self.job.corruption, self.choices["edit"]
        parts = [self.choices["backbone"], dataset, f"eta{damage.eta:g}"]
        parts += [f"{modality}{eta:g}" for modality, eta in sorted(damage.eta_of.items()) if eta]
        parts += [damage.kind] if damage.kind != "permute" else []
        parts += [f"etae{damage.eta_e:g}"] if damage.eta_e else []
        parts += [self.choices["rectifier"]]
        parts += [f"{self.config.edit.op}_{edit}"] if edit != "none" else []
        return "-".join([*parts, f"s{self.job.seed}"])

    def folder(self, job_id: str) -> Path:
        """Where the result of this identity lies."""
        return Path(self.config.output_dir) / job_id


def build_cell(config: DictConfig, choices: Mapping[str, str]) -> Cell:
    """Build and range-check all stages; ValueError names the key, what was found and what was expected."""
    job, read_data, tracking = build_stages(config)
    return Cell(config, {group: str(choices[group]) for group in LABELS}, job, read_data, tracking)


def build_stages(config: DictConfig) -> tuple["Job", Any, "NoTracking"]:
    """All stages, built and range-checked before any data are read: the job, the reader of its data, the tracking."""
    for key in TOP.keys() & config.keys():
        check_value(key, config[key], TOP[str(key)])
    stages = {group: build(config, group) for group in STAGES}
    from trustmm.job import Job

    read_data, tracking = stages.pop("dataset"), stages.pop("tracking")
    return Job(**stages, seed=config.seed), read_data, tracking


def identity_facts(cell: Cell, dataset_digest: str) -> dict[str, Any]:
    """The identity, ``job_id``, and the three parts that it is made of."""
    science = describe(cell.job)
    facts = {
        "options": science,
        "dataset_digest": dataset_digest,
        "code_digest": code_digest("trustmm.job", *targets(science)),
    }
    return {"job_id": digest(facts)[:16], **facts}


def plain_config(config: DictConfig) -> dict[str, Any]:
    """The whole configuration as plain checked values."""
    plain = OmegaConf.to_container(config, resolve=True)
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()} | {group: options_of(config, group) for group in STAGES}


def public_config(config: DictConfig) -> dict[str, Any]:
    """The configuration as it may be read by others: addresses without passwords."""
    from trustmm.tracking.redact import public_values

    found: dict[str, Any] = public_values(plain_config(config))
    return found
