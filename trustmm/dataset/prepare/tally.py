"""What was met and not used: counted by reason, with the first places."""

import logging
from typing import Any

log = logging.getLogger(__name__)
SHOWN = 5
"""Places kept of each reason."""


class Tally:
    """Counts of one source, such as its broken lines.

    Args:
        source: name of the source, for messages.
    """

    def __init__(self, source: str) -> None:
        self.source = source
        self.counts: dict[str, int] = {}
        self.first: dict[str, list[int | str]] = {}

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

    def as_json(self) -> dict[str, Any]:
        """Counts and first places by reason."""
        return {reason: {"count": self.counts[reason], "first": self.first[reason]} for reason in sorted(self.counts)}

    def lines(self) -> list[str]:
        """One line per reason, for people."""
        result = []
        for reason in sorted(self.counts):
            places = ", ".join(map(str, self.first[reason])) + (", ..." if self.counts[reason] > SHOWN else "")
            result.append(f"{self.source}: {reason}: {self.counts[reason]} (at {places})")
        return result
