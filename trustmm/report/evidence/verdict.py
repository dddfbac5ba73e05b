"""From intervals to a verdict that never says more than the runs show."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from trustmm.statistics.seeds import Interval, holm

Verdict = Literal["supported", "not supported", "undecided", "not measured", "no verdict"]


Rule = Callable[[Interval], bool]


@dataclass(frozen=True)
class Effect:
    """One number that a claim is about, with what its rule says of an interval."""

    label: str
    interval: Interval
    agrees: Rule
    """Whether an interval lies where the rule holds."""
    contradicts: Rule
    """Whether an interval lies where the rule says the opposite."""

    @property
    def holds(self) -> bool:
        """Whether the rule holds for the interval."""
        return self.agrees(self.interval)

    def opposed(self, one_of: int = 1) -> bool:
        """Whether the opposite holds, as one of so many that were looked at."""
        return self.contradicts(self.interval.one_of(one_of))


def above(label: str, interval: Interval, threshold: float = 0.0) -> Effect:
    """The rule "above the threshold"."""
    return Effect(label, interval, lambda found: found.low > threshold, lambda found: found.high < threshold)


def below(label: str, interval: Interval, threshold: float = 0.0) -> Effect:
    """The rule "below the threshold"."""
    return Effect(label, interval, lambda found: found.high < threshold, lambda found: found.low > threshold)


def within(label: str, interval: Interval, size: float) -> Effect:
    """The rule "between -size and size"."""
    return Effect(
        label,
        interval,
        lambda found: -size < found.low and found.high < size,
        lambda found: found.low > size or found.high < -size,
    )


def contradicted(effects: Sequence[Effect]) -> bool:
    """Whether one of the effects is opposed, its interval widened for their number."""
    return any(effect.opposed(len(effects)) for effect in effects)


def every(effects: Sequence[Effect]) -> Verdict:
    """All hold: supported, which needs no correction, for all must hold at once; one is contradicted: not supported."""
    if contradicted(effects):
        return "not supported"
    return "supported" if all(effect.holds for effect in effects) else "undecided"


def some_above(effects: Sequence[Effect], level: float = 0.05) -> Verdict:
    """One lies above 0, after Holm over all: supported; all are opposed: not supported."""
    adjusted = holm([effect.interval.p for effect in effects])
    found = [effect.holds and p < level for effect, p in zip(effects, adjusted, strict=True)]
    if any(found):
        return "supported"
    return "not supported" if all(effect.opposed() for effect in effects) else "undecided"


def most(effects: Sequence[Effect]) -> Verdict:
    """More than half hold: supported; at least half are opposed: not supported."""
    half = len(effects) / 2
    if sum(effect.holds for effect in effects) > half:
        return "supported"
    return "not supported" if sum(effect.opposed() for effect in effects) >= half else "undecided"


def both(first: Verdict, second: Verdict) -> Verdict:
    """Two rules that must hold together."""
    if "not supported" in (first, second):
        return "not supported"
    return "supported" if first == second == "supported" else "undecided"


def seeds_of(effects: Sequence[Effect]) -> int:
    """Fewest seeds of an effect; 0 without any."""
    return int(np.min([effect.interval.num_seeds for effect in effects])) if effects else 0


def settle(
    verdict: Verdict, effects: Sequence[Effect], *, min_seeds: int, complete: bool, for_all: bool = True
) -> tuple[Verdict, str]:
    """The verdict with the runs' limits applied, and why it is not more.

    Args:
        verdict: of the rule on the intervals there are.
        effects: what it rests on.
        min_seeds: fewest seeds of a decision.
        complete: whether every cell that the claim speaks of was measured.
        for_all: whether the claim is about every effect: then one that is contradicted decides, even where others are
            missing.
    """
    if not effects:
        return "not measured", ""
    seeds = seeds_of(effects)
    if not complete and not (for_all and contradicted(effects)):
        return "not measured", "cells missing"
    if seeds < min_seeds and verdict != "no verdict":
        return "undecided", f"{seeds} of {min_seeds} seeds"
    return verdict, ""
