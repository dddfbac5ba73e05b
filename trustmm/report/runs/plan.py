"""What a sweep folder was meant to hold: its template and its cells, from its ``multirun.yaml``."""

import itertools
import logging
import math
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from trustmm.options.config import config_folder

log = logging.getLogger(__name__)
LARGEST = 20_000
"""Cells of a plan worth listing."""


@dataclass(frozen=True)
class Plan:
    """The command of a sweep."""

    name: str = ""
    """The template; empty for a command without one."""
    cells: Sequence[str] = ()
    """Overrides of every planned cell, joined by spaces; empty where they cannot be listed (a search)."""
    outputs: Sequence[Path] = ()
    """Where the jobs may lie."""
    defaults: Mapping[str, str] = field(default_factory=dict)
    """Choices and options of a cell that does not override them."""
    command: str = ""
    """As typed in a shell; empty where it is not known."""

    def values(self, cell: str) -> dict[str, str]:
        """Options of a cell as text."""
        pairs = dict(re.findall(r"(?:^|\s)\+*([\w./]+)=(\S*)", cell))
        return dict(self.defaults) | _experiment(pairs.get("experiment", "")) | pairs


@cache
def _experiment(name: str) -> dict[str, str]:
    """Choices and options that ``conf/experiment`` has under this name; nothing for another one."""
    path = config_folder() / "experiment" / f"{name}.yaml"
    if not re.fullmatch(r"[\w/]+", name) or not path.is_file():
        return {}
    config: Any = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
    chosen = {key: value for entry in config.pop("defaults", []) for key, value in entry.items()}
    named = [(key.split()[-1].lstrip("/"), value) for key, value in chosen.items()]
    return {key: str(value) for key, value in [*named, *flatten(config)]}


def flatten(node: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Leaves of a mapping with their dotted keys; of what starts with an underscore only the class counts."""
    if isinstance(node, Mapping):
        for name, value in node.items():
            if name == "_target_" or not name.startswith("_"):
                yield from flatten(value, f"{key}.{name}" if key else name)
    else:
        yield key, node


def plan_of(folder: Path) -> Plan:
    """The plan of a sweep folder; an empty one where there is none."""
    path = folder / "multirun.yaml"
    if not path.is_file():
        return Plan()
    try:
        return _plan(OmegaConf.load(path))
    except (ValueError, LookupError, TypeError, AttributeError, YAMLError, OmegaConfBaseException) as error:
        reason = " ".join(str(error).split())[:200]
        log.warning("%s is damaged (%s), so the sweep's planned cells are unknown", path, reason)
        return Plan()


def _plan(config: Any) -> Plan:
    hydra = config.hydra
    name = str(hydra.job.config_name or "")
    outputs = Path(str(config.get("output_dir", "outputs")))
    places = [Path(str(hydra.runtime.cwd)) / outputs, Path.cwd() / outputs]
    typed: Any = OmegaConf.to_container(hydra.overrides.task, resolve=False)  # "${seed}" as it stands
    command = shlex.join(["trustmm", "-m", *_template(hydra), *typed])
    return Plan("" if name == "config" else name, _cells(hydra), places, _defaults(config), command)


def _template(hydra: DictConfig) -> list[str]:
    """The words that name a template, and where it lies."""
    name = str(hydra.job.config_name or "config")
    sources = hydra.runtime.get("config_sources") or []
    folders = [str(source.path) for source in sources if source.get("provider") == "command-line"]
    given = [word for folder in folders for word in ("--config-dir", folder)]
    return [] if name == "config" else [*given, "--config-name", name]


def same_cell(left: str, right: str) -> bool:
    """Whether two lists of overrides are one cell: escapes, quotes and the order of the keys do not count."""
    return words_of(left) == words_of(right)


def words_of(cell: str) -> tuple[str, ...]:
    """The overrides of a cell, the same for the same cell."""
    return tuple(sorted(re.sub(r"[\\'\"]", "", cell).split()))


def _defaults(config: DictConfig) -> dict[str, str]:
    choices = {str(group): str(choice) for group, choice in config.hydra.runtime.choices.items()}
    named = {group: choices[group] for group in ("dataset", "backbone", "rectifier", "edit") if group in choices}
    keys = ("corruption.eta", "corruption.eta_e", "corruption.kind", "corruption.edge_kind", "seed")
    values = {key: OmegaConf.select(config, key) for key in keys}
    return named | {key: str(value) for key, value in values.items() if value is not None}


def _cells(hydra: DictConfig) -> list[str]:
    """All combinations; none for a sweeper that searches."""
    plain: Any = OmegaConf.to_container(hydra, resolve=False)
    if not str(plain["sweeper"].get("_target_", "")).endswith("BasicSweeper"):
        return []
    params = [f"{key}={value}" for key, value in (plain["sweeper"].get("params") or {}).items()]
    try:
        parsed = OverridesParser.create().parse_overrides([*params, *plain["overrides"]["task"]])
    except HydraException:
        return []
    axes = {override.get_key_element(): _choices(override) for override in parsed}
    if math.prod(map(len, axes.values())) > LARGEST:
        return []
    return [" ".join(cell) for cell in itertools.product(*axes.values())]


def _choices(override: Any) -> list[str]:
    key = override.get_key_element()
    if override.is_discrete_sweep():
        return [f"{key}={value}" for value in override.sweep_string_iterator()]
    return [f"{key}={override.get_value_element_as_str()}"]
