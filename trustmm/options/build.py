"""From configuration to stages: the only caller of `hydra.utils.instantiate`.

Targets must lie in this package, in plugins or in torch.optim. Every key is bound to the constructor's signature, and
every value is checked against its annotation, before anything is built or read.
"""

import difflib
import importlib
import inspect
from collections.abc import Mapping
from typing import Any

import hydra.utils
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from trustmm.options.checks import check_value
from trustmm.store.plugins import is_ours, packages

TORCH = "torch.optim."
RUNTIME = frozenset({"train", "rng", "neighbours", "params", "lr"})
"""Arguments that a job supplies to a partial target; no key may shadow them."""
RESERVED = frozenset({"_target_", "_partial_"})


def build(config: DictConfig, group: str) -> Any:
    """The stage of one group, built from its checked options; raises ValueError as `options_of` does."""
    return hydra.utils.instantiate(options_of(config, group), _convert_="all")


def options_of(config: DictConfig, group: str) -> Any:
    """The options of one group as plain values, resolved and checked; 0 for a float becomes 0.0.

    Raises: ValueError that names the key, what was found and what was expected.
    """
    if config.get(group) is None:
        raise ValueError(f"{group} must be one of the options in conf/{group}, got null")
    try:
        options = OmegaConf.to_container(config[group], resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        key = error.full_key or group
        raise ValueError(f"{key} must be given: {str(error.msg).splitlines()[0]}") from error
    return check_options(options, group)


def check_options(options: Any, key: str) -> Any:
    """A node and all nodes within it; see `options_of`."""
    if isinstance(options, Mapping):
        options = {name: check_options(value, f"{key}.{name}") for name, value in options.items()}
        return _checked_node(options, key) if "_target_" in options else options
    if isinstance(options, list):
        return [check_options(value, f"{key}[{place}]") for place, value in enumerate(options)]
    return options


def _checked_node(options: Mapping[str, Any], key: str) -> dict[str, Any]:
    target = find_target(options["_target_"], f"{key}._target_")
    parameters = inspect.signature(target, eval_str=True).parameters
    named = {name: value for name, value in options.items() if name not in RESERVED}
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    result = dict(options)
    for name, value in named.items():
        if name in RUNTIME or name.startswith("_") or (name not in parameters and not takes_any):
            raise ValueError(unknown_key(f"{key}.{name}", [f"{key}.{known}" for known in parameters]))
        if name in parameters and not _is_node(value):
            result[name] = check_value(f"{key}.{name}", value, parameters[name].annotation)
    required = {name for name, parameter in parameters.items() if parameter.default is parameter.empty}
    missing = required - named.keys() - (RUNTIME if options.get("_partial_") else set())
    if missing and not takes_any:
        raise ValueError(f"{', '.join(f'{key}.{name}' for name in sorted(missing))} must be given")
    return result


def find_target(path: Any, key: str) -> Any:
    """The class at ``package.module.Class``.

    Raises: ValueError unless it is a class defined in an allowed package.
    """
    module, _, name = str(path).rpartition(".")
    places = " or ".join(("trustmm", *packages(), TORCH.rstrip(".")))
    allowed = f"{key} must be a class in {places}, got {path!r}"
    if not _is_allowed(module):
        raise ValueError(allowed)
    try:
        target = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"{allowed}, which does not exist") from error
    if not inspect.isclass(target) or not _is_allowed(target.__module__):
        raise ValueError(allowed)
    return target


def _is_allowed(module: str) -> bool:
    return is_ours(module) or f"{module}.".startswith(TORCH)


def unknown_key(key: str, known: list[str]) -> str:
    """A message that names the closest known keys."""
    nearest = difflib.get_close_matches(key, known, n=3, cutoff=0.6)
    group = key.rpartition(".")[0]
    near = [name for name in known if name.startswith(f"{group}.")] if group else known
    hint = f"did you mean {' or '.join(nearest)}?" if nearest else f"available: {', '.join((near or known)[:20])}"
    return f"unknown key {key}; {hint}"


def _is_node(value: Any) -> bool:
    return isinstance(value, Mapping) and "_target_" in value
