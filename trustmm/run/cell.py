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
from trustmm.store.cache import Cache
from trustmm.store.digest import digest
from trustmm.store.identity import DIAGNOSTICS, DataIdentity, code_digest, describe, placeless, remember_code, targets
from trustmm.store.room import bytes_of

if TYPE_CHECKING:
    from trustmm.dataset.data import Dataset
    from trustmm.job import Job
    from trustmm.tracking.mlflow import Tracking

log = logging.getLogger(__name__)
UNSCIENTIFIC = frozenset({"tracking", "output_dir", "cache_dir", "cache_limit", "resume", "keep_model"})
"""Top-level keys that say where and how a job is kept."""
TOP: Mapping[str, Any] = {"seed": Seed, "resume": bool, "keep_model": bool | None, "output_dir": str, "cache_dir": str}
"""What the top-level keys may be."""
LONGEST_NAME = 250
"""Characters of a run's name that every tracking store keeps."""
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
    tracking: "Tracking"
    label: str = ""
    """What tells it from the other cells of its sweep, if it has one."""

    def name(self, dataset: str) -> str:
        """Of the run in the tracking store: what varies first, for a table cuts names off at the end."""
        if self.label:
            return self.label[:LONGEST_NAME]
        rectifier, edit = self.choices["rectifier"], self.choices["edit"]
        parts = [*self.job.corruption.words(), *([rectifier] if rectifier != "none" else [])]
        parts += ["_".join(filter(None, (self.config.edit.get("op"), edit)))] if edit != "none" else []
        return "-".join([*parts, self.choices["backbone"], f"s{self.job.seed}", dataset])

    def folder(self, job_id: str) -> Path:
        """Where the result of this identity lies."""
        return Path(self.config.output_dir) / job_id


def build_cell(config: DictConfig, choices: Mapping[str, str], label: str = "") -> Cell:
    """Build and range-check all stages; ValueError names the key, what was found and what was expected."""
    job, read_data, tracking = build_stages(config)
    return Cell(config, {group: str(choices[group]) for group in LABELS}, job, read_data, tracking, label)


def build_stages(config: DictConfig) -> tuple["Job", Any, "Tracking"]:
    """All stages, built and range-checked before any data are read: the job, the reader of its data, the tracking."""
    for key in TOP.keys() & config.keys():
        check_value(key, config[key], TOP[str(key)])
    stages = {group: build(config, group) for group in STAGES}
    from trustmm.job import Job

    read_data, tracking = stages.pop("dataset"), stages.pop("tracking")
    job = Job(**stages, seed=config.seed)
    bytes_of("cache_limit", config.cache_limit)
    remember_code(*code_of(describe(job)), *DIAGNOSTICS.values(), type(read_data).__module__)
    return job, read_data, tracking


def open_cache(config: DictConfig, environment: Mapping[str, str]) -> Cache:
    """The cache that a configuration names."""
    return Cache(Path(config.cache_dir), bytes_of("cache_limit", config.cache_limit), environment)


def identity_facts(cell: Cell, data: DataIdentity) -> dict[str, Any]:
    """The identity, ``job_id``, and the parts that it is made of; diagnostics are one where the job has them."""
    science = describe(cell.job) | {"corruption": describe(cell.job.corruption.settled(data.modalities))}
    facts = {
        "options": science,
        "dataset_digest": data.digest,
        "code_digest": code_digest(*code_of(science)),
    }
    measured = [DIAGNOSTICS[name] for name in cell.job.busy_stages]
    facts |= {"diagnostics_digest": code_digest(*measured)} if measured else {}
    return {"job_id": digest(placeless(facts))[:16], **facts}


def code_of(science: Any) -> list[str]:
    """The modules that a job with this description starts from."""
    return ["trustmm.job", *targets(science)]


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
