"""The search space of a study: Hydra's own override grammar, as axes that a sampler draws from."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import product
from typing import Any, Literal

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import (
    IntervalSweep,
    Override,
    Quote,
    QuotedString,
    RangeSweep,
    Sweep,
    Transformer,
)

from trustmm.options.ranges import use_exact_ranges

Value = bool | int | float | str
"""Of a parameter; text is as the user would type it."""


@dataclass(frozen=True)
class Axis:
    """What one key may be."""

    key: str
    """As typed before the equals sign."""
    kind: Literal["choice", "int", "float"]
    choices: tuple[Value, ...] = ()
    low: float = 0.0
    high: float = 0.0
    """Included."""
    step: float | None = None
    log: bool = False

    def override(self, value: Value) -> str:
        """The command-line argument for one value."""
        return f"{self.key}={self.spelt(value)}"

    def spelt(self, value: Value) -> Value:
        """The value; a number of a float range as somebody would type it: 0.3, not 0.30000000000000004."""
        if self.kind != "float" or self.step is None or isinstance(value, str):
            return value
        low, step = Decimal(repr(self.low)), Decimal(repr(self.step))
        return float(low + step * round((Decimal(repr(float(value))) - low) / step))

    @property
    def values(self) -> list[Value]:
        """All values; ValueError for a continuous interval."""
        if self.kind == "choice":
            return list(self.choices)
        if self.kind == "int":
            return list(range(int(self.low), int(self.high) + 1, int(self.step or 1)))
        if self.step is None:
            raise ValueError(
                f"a grid cannot enumerate {self.key}={self}; list values, e.g. {self.key}={self.low:g},{self.high:g}"
            )
        count = round((self.high - self.low) / self.step) + 1
        return [self.spelt(self.low + place * self.step) for place in range(count)]

    @property
    def ends(self) -> list[Value]:
        """Every choice, or both ends of an interval."""
        if self.kind == "choice":
            return list(self.choices)
        return [int(self.low), int(self.high)] if self.kind == "int" else [self.low, self.high]

    def __str__(self) -> str:
        """In the grammar of the command line; a range names its last value."""
        if self.kind == "choice":
            return f"choice({','.join(map(str, self.choices))})"
        ends = f"{self.low:.12g},{self.high:.12g}"
        if self.kind == "int":
            text = f"int(interval({ends}))" if self.step in (None, 1) else f"range({ends},step={self.step:g})"
        else:
            text = f"interval({ends})" if self.step is None else f"range({ends},step={self.step:g})"
        return f"tag(log, {text})" if self.log else text


@dataclass(frozen=True)
class Space:
    """Axes to draw from, and arguments that every trial shares."""

    axes: tuple[Axis, ...]
    fixed: tuple[str, ...]

    def overrides(self, values: Mapping[str, Value]) -> tuple[str, ...]:
        """The arguments of the job with these values, by key."""
        return (*self.fixed, *(axis.override(values[axis.key]) for axis in self.axes))

    def cells(self) -> list[dict[str, Value]]:
        """All combinations, the last axis fastest; ValueError if an axis is continuous."""
        names = [axis.key for axis in self.axes]
        return [dict(zip(names, cell, strict=True)) for cell in product(*(axis.values for axis in self.axes))]

    def probes(self) -> list[dict[str, Value]]:
        """Few combinations that hold every choice and both ends of every interval: what builds there builds between."""
        depth = max((len(axis.ends) for axis in self.axes), default=0)
        return [{axis.key: axis.ends[min(row, len(axis.ends) - 1)] for axis in self.axes} for row in range(depth)]

    def describe(self) -> dict[str, str]:
        """Every axis as text, to be compared with another session's."""
        return {axis.key: str(axis) for axis in self.axes}


def parse_space(
    params: Mapping[str, Any], arguments: Sequence[str], config_loader: ConfigLoader | None = None
) -> Space:
    """The space of ``hydra.sweeper.params`` and the command line, which wins where both name a key.

    Args:
        params: key to value in Hydra's grammar: ``choice(a,b)`` or ``a,b``, ``interval(a,b)``, ``int(interval(a,b))``,
            ``range(a,b)`` without b, ``tag(log, interval(a,b))``; anything else is fixed.
        arguments: overrides of the command line.
        config_loader: lists the options of a group for ``glob(...)``.

    Raises: ValueError that names the key.
    """
    lines = [f"{key}={value}" for key, value in params.items()] + list(arguments)
    parsed = OverridesParser.create(config_loader=config_loader).parse_overrides(lines)
    last = {(override.key_or_group, override.package): override for override in parsed}
    axes = [_axis(override) for override in last.values() if override.is_sweep_override()]
    fixed = [str(override.input_line) for override in last.values() if not override.is_sweep_override()]
    return Space(tuple(axes), tuple(fixed))


def _axis(override: Override) -> Axis:
    key, sweep = override.get_key_element(), override.value()
    log = _is_log(key, sweep)
    if isinstance(sweep, IntervalSweep):
        return _interval(key, sweep.start, sweep.end, log=log)
    if log:
        raise ValueError(f"{key}: tag(log, ...) needs an interval, got {override.get_value_string()}")
    if isinstance(sweep, RangeSweep):
        return _range(key, sweep)
    choices = tuple(override.sweep_iterator(transformer=_typed))
    if not choices:
        raise ValueError(f"{key}: {override.get_value_string()} matches nothing")
    if len(set(map(str, choices))) < len(choices):
        raise ValueError(f"{key} names a choice twice: {override.get_value_string()}")
    return Axis(key, "choice", choices)  # type: ignore[arg-type]  # text, numbers and booleans


def _typed(value: Any) -> Any:
    """A choice as it goes into an override: text keeps its quotes where it would not be one word without them."""
    text = value.text if isinstance(value, QuotedString) else value  # Hydra takes the quotes off within choice(...)
    if isinstance(text, str):
        plain = re.fullmatch(r"[A-Za-z_/.-][\w/.-]*", text) and text.lower() not in (
            "true",
            "false",
            "null",
            "nan",
            "inf",
        )
        return text if plain else QuotedString(text, Quote.single).with_quotes()
    return Transformer.encode(value)


def _is_log(key: str, sweep: Any) -> bool:
    tags = sweep.tags if isinstance(sweep, Sweep) else set()
    if tags - {"log"}:
        raise ValueError(f"{key}: the only tag is log, got {', '.join(sorted(tags))}")
    return "log" in tags


def _interval(key: str, low: float | None, high: float | None, *, log: bool) -> Axis:
    assert low is not None
    assert high is not None
    if not low < high:
        raise ValueError(f"{key} must be an interval with its smaller end first, got interval({low:g},{high:g})")
    if log and low <= 0:
        raise ValueError(f"{key}: a logarithmic interval starts above 0, got {low:g}")
    whole = isinstance(low, int) and isinstance(high, int)
    return Axis(key, "int" if whole else "float", low=low, high=high, log=log)


def _range(key: str, sweep: RangeSweep) -> Axis:
    use_exact_ranges()
    values = list(sweep.range())
    if not values:
        raise ValueError(f"{key}: range({sweep.start},{sweep.stop}) is empty; the end is excluded")
    kind: Literal["int", "float"] = "int" if all(isinstance(value, int) for value in values) else "float"
    return Axis(key, kind, low=min(values), high=max(values), step=abs(sweep.step))
