"""Types and ranges of what the user types, written as annotations and checked before any data are read.

A constructor says ``eta: Share``; `build` calls `check_value` with the full key, so that every message reads
"corruption.eta must be in [0, 1], got 1.7" and no class repeats the check.
"""

import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from trustmm.store.plugins import names_plugin


@dataclass(frozen=True)
class Within:
    """An interval as in a paper: ``[0, 1]``, ``(0, inf)``, ``(-1, 1]``; NaN lies in none."""

    interval: str

    def __contains__(self, value: float) -> bool:
        low, high = (float(bound) for bound in self.interval[1:-1].split(","))
        above = value >= low if self.interval[0] == "[" else value > low
        return above and (value <= high if self.interval[-1] == "]" else value < high)


class InPlugin:
    """Text that is the dotted path of a function in a plugin."""


Function = Annotated[str, InPlugin()]
Count = Annotated[int, Within("[1, inf)")]
Seed = Annotated[int, Within("[0, inf)")]
Share = Annotated[float, Within("[0, 1]")]
Positive = Annotated[float, Within("(0, inf)")]
NonNegative = Annotated[float, Within("[0, inf)")]

_WORDS = {int: "an integer", float: "a number", str: "text", bool: "true or false", type(None): "null"}


def check_value(key: str, value: Any, annotation: Any) -> Any:
    """The value, as a float if the annotation asks for one; ValueError if the annotation of its parameter forbids it.

    Args:
        key: the configuration key as the user types it.
        value: a plain value, list or mapping.
        annotation: int, float, str, bool, None, `Literal`, `Annotated` with `Within`, a union, `Sequence` or
            `Mapping` of these; other annotations are not checked.
    """
    origin, arguments = get_origin(annotation), get_args(annotation)
    check = _CHECKS.get(origin, _check_plain)
    return check(key, value, annotation if origin is None else arguments)


def _check_plain(key: str, value: Any, kind: Any) -> Any:
    if kind not in _WORDS:
        if (
            kind is not Any
            and isinstance(kind, type)
            and (value is None or isinstance(value, int | float | str | list))
        ):
            raise ValueError(f"{key} must be an option with a _target_, got {value!r}")
        return value
    matches = isinstance(value, int | float) if kind is float else isinstance(value, kind)
    if not matches or (isinstance(value, bool) and kind is not bool):
        raise ValueError(f"{key} must be {_WORDS[kind]}, got {value!r}")
    return float(value) if kind is float else value


def _check_annotated(key: str, value: Any, arguments: tuple[Any, ...]) -> Any:
    value = check_value(key, value, arguments[0])
    for limit in arguments[1:]:
        if isinstance(limit, Within) and value not in limit:
            raise ValueError(f"{key} must be in {limit.interval}, got {value:g}")
        if isinstance(limit, InPlugin) and not names_plugin(value):
            raise ValueError(f"{key} must be the path of a function in a plugin, got {value!r}")
    return value


def _check_literal(key: str, value: Any, choices: tuple[Any, ...]) -> Any:
    if value not in choices:
        raise ValueError(f"{key} must be {' or '.join(map(str, choices))}, got {value!r}")
    return value


def _check_union(key: str, value: Any, members: tuple[Any, ...]) -> Any:
    reasons = []
    for member in members:
        try:
            return check_value(key, value, member)
        except ValueError as reason:
            reasons.append(str(reason).removeprefix(f"{key} must be ").rsplit(", got ", 1)[0])
    raise ValueError(f"{key} must be {' or '.join(reasons)}, got {value!r}")


def _check_sequence(key: str, value: Any, members: tuple[Any, ...]) -> Any:
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise ValueError(f"{key} must be a list, got {value!r}")
    return [check_value(f"{key}[{place}]", element, members[0]) for place, element in enumerate(value)]


def _check_mapping(key: str, value: Any, members: tuple[Any, ...]) -> Any:
    if not isinstance(value, Mapping):
        raise ValueError(f"{key} must be a mapping of names to values, got {value!r}")
    return {
        check_value(key, name, members[0]): check_value(f"{key}.{name}", element, members[1])
        for name, element in value.items()
    }


_CHECKS: dict[Any, Callable[[str, Any, Any], Any]] = {
    Annotated: _check_annotated,
    Literal: _check_literal,
    Union: _check_union,
    types.UnionType: _check_union,
    Sequence: _check_sequence,
    Mapping: _check_mapping,
}
