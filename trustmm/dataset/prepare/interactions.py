"""Pairs of users and items, from records of any file."""

import math
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trustmm.dataset.prepare.records import Record
from trustmm.dataset.prepare.tally import Tally
from trustmm.graph.edges import IntArray

LONGEST_ID = 256
"""Characters."""


@dataclass(frozen=True)
class Columns:
    """Names of the fields that hold user, item and time."""

    user: str
    item: str
    time: str | None


KNOWN = (
    Columns("reviewerID", "asin", "unixReviewTime"),
    Columns("user_id", "parent_asin", "timestamp"),
    Columns("userID", "itemID", "timestamp"),
    Columns("user_id", "item_id", "timestamp"),
    Columns("user", "item", "time"),
    Columns("user", "item", "timestamp"),
)
"""Names tried in this order: Amazon 2014, Amazon 2023, the published layout, plain tables."""


@dataclass(frozen=True, eq=False)
class Interactions:
    """Pairs with their times; users and items are numbers into the lists of names.

    Shapes: users, items, times (E,); times are NaN where unknown.
    """

    users: IntArray
    items: IntArray
    times: NDArray[np.float64]
    user_names: Sequence[str]
    item_names: Sequence[str]

    def __len__(self) -> int:
        return len(self.users)

    def counts(self) -> dict[str, int]:
        """Numbers of pairs, and of users and items that occur in them."""
        return {
            "interactions": len(self),
            "users": int(np.count_nonzero(np.bincount(self.users))) if len(self) else 0,
            "items": int(np.count_nonzero(np.bincount(self.items))) if len(self) else 0,
        }

    def keep(self, rows: NDArray[Any]) -> "Interactions":
        """The pairs at these places (a mask or numbers), with the same numbering."""
        return replace(self, users=self.users[rows], items=self.items[rows], times=self.times[rows])


def find_columns(
    path: Path, names: Sequence[str], *, user: str | None, item: str | None, time: str | None, need_time: bool
) -> Columns:
    """Which fields of a file hold user, item and time.

    Args:
        path: the file, for messages.
        names: its fields.
        user: what the user typed, or None to find it; `item` and `time` alike.
        item: see `user`.
        time: see `user`.
        need_time: whether a file without time is refused.

    Raises: ValueError that names the missing column and those there are.
    """
    known = next((columns for columns in KNOWN if {columns.user, columns.item} <= {*names}), None)
    found = Columns(user or (known.user if known else ""), item or (known.item if known else ""), time)
    for option, column in (("--user", found.user), ("--item", found.item)):
        if column not in names:
            said = f"no column {column!r}" if column else "no columns with a known name for user and item"
            hint = f"name it with {option}; for a file without a header line use --header user,item,rating,time"
            raise ValueError(f"{path}: {said} among {', '.join(names[:20])}; {hint}")
    if time is None and known is not None and known.time in names:
        found = replace(found, time=known.time)
    if (time is not None and time not in names) or (need_time and found.time is None):
        raise ValueError(f"{path}: no column for time among {', '.join(names[:20])}; name it with --time")
    return found


class Collector:
    """Gathers pairs; memory grows with the distinct names and 16 bytes a pair.

    Args:
        need_time: whether a pair without a time is counted as broken.
    """

    def __init__(self, *, need_time: bool) -> None:
        self.need_time = need_time
        self._clear()

    def _clear(self) -> None:
        self._user_numbers: dict[str, int] = {}
        self._item_numbers: dict[str, int] = {}
        self._users, self._items, self._times = array("i"), array("i"), array("d")

    def add(self, records: Iterable[tuple[int, Record]], columns: Columns, tally: Tally) -> None:
        """Add the pairs of one file; what has no user, item or needed time goes to the tally."""
        users, items = self._user_numbers, self._item_numbers
        for number, record in records:
            user, item = name_of(record.get(columns.user)), name_of(record.get(columns.item))
            if user is None or item is None:
                tally.add("no usable user" if user is None else "no usable item", number)
                continue
            time = seconds(record.get(columns.time)) if columns.time else math.nan
            if time != time and columns.time:
                tally.add("no usable time" + ("" if self.need_time else " (kept)"), number)
                if self.need_time:
                    continue
            self._users.append(users.setdefault(user, len(users)))
            self._items.append(items.setdefault(item, len(items)))
            self._times.append(time)

    def finish(self) -> Interactions:
        """What was gathered; the collector is empty afterwards."""
        users, items = np.array(self._users, dtype=np.int64), np.array(self._items, dtype=np.int64)
        times = np.array(self._times, dtype=np.float64)
        names = list(self._user_numbers), list(self._item_numbers)
        self._clear()
        return Interactions(users, items, times, *names)


def name_of(value: Any) -> str | None:
    """A user's or item's name as text, or None for what cannot be one: no text, no whole number, not printable."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, str) and 0 < len(value) <= LONGEST_ID and value.isprintable():
        return value
    return None


def seconds(value: Any) -> float:
    """A time as a number: numbers as they are, dates and ISO 8601 text as seconds since 1970; NaN for anything else."""
    try:
        if isinstance(value, datetime):
            return (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()
        if isinstance(value, date):
            return datetime(value.year, value.month, value.day, tzinfo=UTC).timestamp()
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            return math.nan
        number = float(value)
        return number if math.isfinite(number) else math.nan
    except OverflowError:
        return math.nan
    except ValueError:
        return _iso_seconds(str(value))


def _iso_seconds(text: str) -> float:
    try:
        return seconds(datetime.fromisoformat(text))
    except (ValueError, OverflowError):
        return math.nan


def distinct(pairs: Interactions) -> Interactions:
    """Each pair once, at its earliest time; unknown times come last, equal ones in the order of the files."""
    order = np.lexsort((pairs.times, pairs.items, pairs.users))
    users, items = pairs.users[order], pairs.items[order]
    first = np.ones(len(order), dtype=bool)
    first[1:] = (users[1:] != users[:-1]) | (items[1:] != items[:-1])
    return pairs.keep(np.sort(order[first]))


def renumbered(pairs: Interactions) -> Interactions:
    """Users and items that occur, numbered 0, 1, 2, ... in the order of their names; pairs sorted by user, then item.

    The result does not depend on the order of lines or files.
    """
    users, user_names = _renumber(pairs.users, pairs.user_names)
    items, item_names = _renumber(pairs.items, pairs.item_names)
    order = np.lexsort((items, users))
    return Interactions(users[order], items[order], pairs.times[order], user_names, item_names)


def _renumber(numbers: IntArray, names: Sequence[str]) -> tuple[IntArray, list[str]]:
    used = sorted((names[number], number) for number in np.unique(numbers).tolist())
    new = np.full(len(names), -1, dtype=np.int64)
    new[[number for _, number in used]] = np.arange(len(used))
    return new[numbers], [name for name, _ in used]
