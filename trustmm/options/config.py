"""The frame of a configuration: its groups and keys, and the location of the YAML files."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig, OmegaConf

from trustmm.options.ranges import use_exact_ranges
from trustmm.store.digest import digest

STAGES = ("dataset", "corruption", "prior", "rectifier", "edit", "backbone", "training", "evaluation", "tracking")
"""Groups whose options are built, in the order of a job."""
TEMPLATES = "pkg://trustmm.multirun_templates"
"""What ``--config-dir`` takes for the ready-made studies, wherever the package lies."""


@dataclass
class JobConfig:
    """Top level of a configuration. A group's keys are those of its option's constructor, see `build`.

    `build_stages` checks types: it refuses ``resume=5``, which OmegaConf would read as true.
    """

    dataset: Any = MISSING
    corruption: Any = MISSING
    prior: Any = MISSING
    rectifier: Any = MISSING
    edit: Any = MISSING
    backbone: Any = MISSING
    training: Any = MISSING
    evaluation: Any = MISSING
    tracking: Any = MISSING
    seed: Any = 0
    resume: Any = True
    keep_model: Any = None
    output_dir: Any = "outputs"
    cache_dir: Any = "${output_dir}/cache"
    cache_limit: Any = MISSING


@dataclass
class RectifyConfig(JobConfig):
    """Top level of `trustmm.cli.rectify`: that of a job, and the output folder."""

    out: str | None = None


def config_folder() -> Path:
    """The folder of the YAML files: inside the package when installed, beside it in a checkout."""
    package = Path(__file__).resolve().parent.parent
    return next(folder for folder in (package / "conf", package.parent / "conf") if folder.is_dir())


def template_folder() -> Path:
    """The folder of the ready-made studies, beside that of the YAML files; `TEMPLATES` on the command line."""
    return config_folder().parent / "multirun_templates"


def register() -> None:
    """Register the schema, nodes that accept any name, the resolver that names a sweep, and exact ranges with Hydra."""
    use_exact_ranges()
    store = ConfigStore.instance()
    store.store(name="job_schema", node=JobConfig)
    store.store(name="rectify_schema", node=RectifyConfig)
    for name in ("eta_of", "modality_weight", "k_of", "lengths", "metrics"):
        store.store(group="schema", name=name, node=_open_node(name))
    store.store(group="schema", name="modalities", node=_open_node("modalities", "frames"))
    OmegaConf.register_new_resolver("sweep_id", _sweep_id, use_cache=True, replace=True)


def _open_node(*names: str) -> DictConfig:
    """Mappings by modality that accept ``group.name.MODALITY=value`` without a plus sign."""
    node = OmegaConf.create({name: {} for name in names})
    for name in names:
        node[name]._set_flag("struct", False)
    return node


def _sweep_id(overrides: list[str], config_name: str = "config") -> str:
    """Name of a sweep, beginning with its template. The order of a command's arguments makes no difference."""
    name = digest(sorted(overrides))[:12]
    return name if config_name == "config" else f"{config_name}-{name}"
