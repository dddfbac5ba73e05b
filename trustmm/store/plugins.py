"""Plugins: packages that are found by the entry point group ``trustmm.plugins``, or named in TRUSTMM_PLUGINS.

A plugin's ``conf`` folder is added to Hydra's search path. Its classes may be targets, its functions may be kinds of
corruption or metrics, and its code is part of the identity of every job that uses it. No other package is imported.
"""

import functools
import importlib
import importlib.util
import os
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

GROUP, VARIABLE = "trustmm.plugins", "TRUSTMM_PLUGINS"


def packages() -> tuple[str, ...]:
    """Names of the packages, in alphabetical order."""
    return _packages(os.environ.get(VARIABLE, ""))


@functools.cache
def _packages(named: str) -> tuple[str, ...]:
    installed = {point.value.partition(":")[0].partition(".")[0] for point in entry_points(group=GROUP)}
    return tuple(sorted(installed | {name.strip() for name in named.split(",") if name.strip()}))


def is_ours(path: str) -> bool:
    """Whether a dotted path leads into this package or a plugin."""
    return path.partition(".")[0] in ("trustmm", *packages())


def names_plugin(path: str) -> bool:
    """Whether a text is a dotted path into a plugin."""
    return "." in path and path.partition(".")[0] in packages()


def conf_folders() -> list[Path]:
    """Folders with the YAML files of plugins.

    Raises: ValueError for a package that cannot be imported.
    """
    found = []
    for name in packages():
        spec = importlib.util.find_spec(name)
        if spec is None or not spec.submodule_search_locations:
            raise ValueError(f"the plugin {name} ({VARIABLE} or an entry point) must be an importable package")
        found += [Path(place) / "conf" for place in spec.submodule_search_locations]
    return [folder for folder in found if folder.is_dir()]


def function(path: str) -> Any:
    """The function at ``package.module.function`` of a plugin.

    Raises: ValueError if there is none.
    """
    module, _, name = path.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"there is no function {path}: {error}") from error
    if not names_plugin(path) or not callable(found):
        raise ValueError(f"{path} must be a function of a plugin; the plugins are {packages()}")
    return found
