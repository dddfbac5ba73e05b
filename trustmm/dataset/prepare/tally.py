"""Counts skipped records by reason and keeps the first few places."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

SHOWN = 5
"""Places kept for each reason."""
LONGEST_EXAMPLE = 60
"""Characters of a value shown as an example."""


class Tally:
    """Counts for one source.

    Args:
        source: name of the source, for messages.
    """

    def __init__(self, source: str) -> None:
        self.source = source
        self.counts: dict[str, int] = {}
        self.first: dict[str, list[int | str]] = {}
        self.examples: dict[str, str] = {}
        """Reasons that made a record unusable, with an example where one explains."""
        self.used = 0
        """Records that were usable."""

    def add(self, reason: str, place: int | str) -> None:
        """Count one case.

        Args:
            reason: what was wrong.
            place: a line number, an item id.
        """
        count = self.counts.get(reason, 0)
        self.counts[reason] = count + 1
        if count < SHOWN:
            self.first.setdefault(reason, []).append(place)

    def lose(self, reason: str, place: int | str, example: str = "") -> None:
        """Count one record that cannot be used; see `check`."""
        self.examples.setdefault(reason, example)
        self.add(reason, place)

    def lose_value(self, reason: str, place: int | str, column: str, value: Any, expected: str) -> None:
        """Count one record that cannot be used because of the value in a column; the first one is the example."""
        if reason not in self.examples:
            shown = repr(value)
            shown = shown if len(shown) <= LONGEST_EXAMPLE else f"{shown[:LONGEST_EXAMPLE]}..."
            kind = "nothing" if value is None else f"{type(value).__name__} such as {shown}"
            self.examples[reason] = f"column {column!r} holds {kind}, expected {expected}"
        self.add(reason, place)

    def check(self, path: Path, tolerance: float) -> None:
        """Refuse a source of which too large a share cannot be used.

        Args:
            path: the source, for the message.
            tolerance: the largest share allowed.

        Raises: ValueError that names the most frequent reason first, with an example of each.
        """
        lost = sum(self.counts[reason] for reason in self.examples)
        total = lost + self.used
        if not total:
            raise ValueError(f"{path}: found no records")
        if self.used and lost <= tolerance * total:
            return
        allowed = f"--tolerance {tolerance:g} allows {int(tolerance * total):,}" if self.used else "expected some"
        reasons = sorted(self.examples, key=lambda reason: -self.counts[reason])
        raise ValueError(
            f"{path}: {lost:,} of {total:,} records cannot be used, {allowed}: " + "; ".join(map(self._line, reasons))
        )

    def _line(self, reason: str) -> str:
        places = ", ".join(map(str, self.first[reason])) + (", ..." if self.counts[reason] > SHOWN else "")
        example = self.examples.get(reason)
        return f"{reason}: {self.counts[reason]:,} (at {places})" + (f", {example}" if example else "")

    def as_json(self) -> dict[str, Any]:
        """Counts and first places by reason."""
        return {reason: {"count": self.counts[reason], "first": self.first[reason]} for reason in sorted(self.counts)}

    def lines(self) -> list[str]:
        """One line per reason, for people."""
        return [f"{self.source}: {self._line(reason)}" for reason in sorted(self.counts)]


def check_matched(source: str, what: str, unmatched: Sequence[str], total: int, tolerance: float) -> None:
    """Refuse a source that leaves too large a share of the items without content.

    Args:
        source: for the message.
        what: what the items lack, such as "an image".
        unmatched: names of the items without it.
        total: items of the data set.
        tolerance: the largest share allowed.

    Raises: ValueError.
    """
    if len(unmatched) > tolerance * total:
        raise ValueError(
            f"{source}: {len(unmatched):,} of {total:,} items have no {what}, such as {unmatched[0]!r}; "
            f"--tolerance {tolerance:g} allows {int(tolerance * total):,}"
        )
