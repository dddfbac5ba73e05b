"""Hydra's errors, reworded for a user who mistyped a key or a value."""

import difflib
import re
import shlex
import traceback
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException, OverrideParseException
from omegaconf import DictConfig, OmegaConf

from trustmm.options.build import unknown_key
from trustmm.options.config import STAGES, config_folder, register


def explain(error: Exception, arguments: list[str]) -> str:
    """Hydra's error, reworded for a user who mistyped a key or a value; other messages are returned unchanged."""
    if isinstance(error, OverrideParseException):
        return f"{error.override} cannot be read as a key and a value; {in_quotes(error.override)}"
    message = " ".join(str(error).split("\nConfig search path:")[0].split())
    message = in_one_line(error) if "full_key: " in message else message
    several = re.match(r"Ambiguous value for argument '(.*?)' 1\. To use it as a list", message)
    if several is not None:
        return f"{several[1]} has several values, which only a sweep may have: add -m; {in_quotes(several[1])}"
    option = re.search(r"Could not find '([^']+)/([^'/]+)' Available options in '[^']+': (.*)$", message)
    if option is not None:
        return unknown_option(option[1], option[2], option[3].split())
    if "Config group override must be" in f"{message} {error.__cause__}":
        odd = [word for word in arguments if re.fullmatch(r"(\w+)=.*", word) and word.split("=")[0] in STAGES]
        odd = [word for word in odd if not re.fullmatch(r"\w+=[A-Za-z_]\w*", word) or word.endswith("=null")]
        if not odd:
            return f"{' '.join(hydra_words(arguments))}: {message}"
        return f"{' '.join(odd)}: give one of the group's options by name"
    if isinstance(error.__cause__, ValueError):
        return in_one_line(error.__cause__)
    wrong = re.search(r"Could not override '([^']+)'", message)
    if wrong is None:
        odd = hydra_words(arguments)
        named = any(word.lstrip("+~").partition("=")[0] in message for word in odd)
        return message if named or not odd else f"{' '.join(odd)}: {message}"
    known = known_keys(_composed(arguments, hydra=wrong[1].startswith("hydra.")))
    return unknown_key(wrong[1].partition("@")[0], known)


def in_one_line(error: Exception) -> str:
    """An error's message; that of a value of Hydra's own keys says first which key it is of."""
    text, _, place = " ".join(str(error).split()).partition(" full_key: ")
    return f"{place.partition(' ')[0]}: {text}" if place else text


def hydra_words(arguments: list[str]) -> list[str]:
    """The words of a command line that speak to Hydra itself."""
    return [word for word in arguments if word.lstrip("+~").startswith("hydra")]


def of_hydra(error: Exception, arguments: list[str]) -> str:
    """A message for what Hydra's own code meets in the words that speak to it; empty for errors of other code."""
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    words = hydra_words(arguments)
    if not words or frame.f_globals["__name__"].partition(".")[0] not in ("hydra", "omegaconf"):
        return ""
    return f"{' '.join(words)}: Hydra cannot use this ({type(error).__name__}: {in_one_line(error)})".replace(
        ": )", ")"
    )


def unknown_option(group: str, option: str, known: list[str]) -> str:
    """A message that names the closest options of a group."""
    nearest = difflib.get_close_matches(option, known, n=2, cutoff=0.6)
    near = f"did you mean {' or '.join(f'{group}={name}' for name in nearest)}? " if nearest else ""
    return f"unknown option {group}={option}; {near}available: {', '.join(known)}"


def in_quotes(word: str) -> str:
    """How to type the value of a word as one text: in quotes for Hydra, and the word in quotes for the shell."""
    key, _, value = word.partition("=")
    typed = quoted(key, value)
    shown = shlex.quote(typed) if re.search(r'["$`\\!]', typed) else f'"{typed}"'
    return f"a text with commas or other signs goes into quotes: {shown}"


def quoted(key: str, value: object) -> str:
    """An override whose value is this text, whatever signs are in it."""
    escaped = str(value).replace("'", "\\'")
    return f"{key}='{escaped}'"


def _composed(arguments: list[str], *, hydra: bool) -> DictConfig:
    """The configuration with the groups that the command line chose, as far as they exist."""
    register()
    GlobalHydra.instance().clear()
    groups = {*STAGES, "hydra/launcher", "hydra/sweeper"}
    chosen = [word for word in arguments if re.fullmatch(r"[\w/]+=\w+", word) and word.split("=")[0] in groups]
    with initialize_config_dir(version_base="1.3", config_dir=str(config_folder())):
        try:
            return compose("config", overrides=chosen, return_hydra_config=hydra)
        except HydraException:
            return compose("config", return_hydra_config=hydra)


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
