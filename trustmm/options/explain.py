"""Hydra's errors in the words of somebody who mistyped a key or a value."""

import re
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from trustmm.options.build import unknown_key
from trustmm.options.config import STAGES, config_folder, register


def explain(error: Exception, arguments: list[str]) -> str:
    """Hydra's error in the words of somebody who mistyped a key or value; other messages stay."""
    if isinstance(error.__cause__, ValueError):
        return str(error.__cause__)
    message = str(error).split("\nConfig search path:")[0]
    wrong = re.search(r"Could not override '([^']+)'", message)
    if wrong is None:
        return message
    register()
    GlobalHydra.instance().clear()
    chosen = [word for word in arguments if re.fullmatch(r"\w+=\w+", word)]
    with initialize_config_dir(version_base="1.3", config_dir=str(config_folder())):
        try:
            config = compose("config", overrides=[word for word in chosen if word.split("=")[0] in STAGES])
        except HydraException:
            config = compose("config")
    return unknown_key(wrong[1], known_keys(config))


def known_keys(config: DictConfig) -> list[str]:
    """Every key of a configuration, groups and inner nodes included, without targets."""
    keys: list[str] = []

    def walk(prefix: str, node: Any) -> None:
        for key in node:
            if str(key).startswith("_"):
                continue
            keys.append(f"{prefix}{key}")
            value = None if OmegaConf.is_missing(node, key) else node._get_node(key)
            if isinstance(value, DictConfig) and not value._is_none():
                walk(f"{prefix}{key}.", value)

    walk("", config)
    return keys
