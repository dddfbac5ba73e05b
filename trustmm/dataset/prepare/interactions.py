"""Pairs of users and items, from records of any file."""

import math
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trustmm.dataset.prepare import names, times
from trustmm.dataset.prepare.columns import Columns
from trustmm.dataset.prepare.names import name_of
from trustmm.dataset.prepare.records import Record
from trustmm.dataset.prepare.tally import Tally
from trustmm.dataset.prepare.times import PER_SECOND, PLAIN, time_of
from trustmm.graph.edges import IntArray


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


class Collector:
    """Gathers pairs; memory grows with the distinct names and 16 bytes a pair.

    Args:
        need_time: whether a pair without a time is counted as unusable.
    """

    def __init__(self, *, need_time: bool) -> None:
        self.need_time = need_time
        self._clear()

    def _clear(self) -> None:
        self._user_numbers: dict[str, int] = {}
        self._item_numbers: dict[str, int] = {}
        self._users, self._items, self._times = array("i"), array("i"), array("d")
        self._first: tuple[Path, str] | None = None

    def add(self, path: Path, records: Iterable[tuple[int, Record]], columns: Columns, tally: Tally) -> str | None:
        """Add the pairs of one file; the unit of its times, None where it has none.

        What has no user, item or needed time goes to the tally.

        Raises: ValueError for times of different units, in this file or in comparison with the first one.
        """
        users, items = self._user_numbers, self._item_numbers
        before, units = len(self._users), dict[str, tuple[int, Any]]()
        for number, record in records:
            user, item = name_of(record.get(columns.user)), name_of(record.get(columns.item))
            if user is None or item is None:
                kind, column = ("user", columns.user) if user is None else ("item", columns.item)
                tally.lose_value(f"no usable {kind}", number, column, record.get(column), names.EXPECTED)
                continue
            time = math.nan
            if columns.time:
                value = record.get(columns.time)
                time, unit = time_of(value)
                if time == time:
                    units.setdefault(unit, (number, value))
                elif self.need_time:
                    tally.lose_value("no usable time", number, columns.time, value, times.EXPECTED)
                    continue
                else:
                    tally.add("no usable time (kept)", number)
            self._users.append(users.setdefault(user, len(users)))
            self._items.append(items.setdefault(item, len(items)))
            self._times.append(time)
        tally.used = len(self._users) - before
        return self._in_seconds(path, before, units) if units else None

    def _in_seconds(self, path: Path, start: int, units: dict[str, tuple[int, Any]]) -> str:
        """Bring the times from `start` on to seconds, and see that all files can be compared."""
        if len(units) > 1:
            found = " and ".join(f"{value!r} at {number} ({unit})" for unit, (number, value) in units.items())
            raise ValueError(f"{path}: found times of different units, {found}; expected one, or --time '' for none")
        unit = next(iter(units))
        first_path, first = self._first = self._first or (path, unit)
        if (unit == PLAIN) is not (first == PLAIN):
            found = f"times are {unit} since 1970" if first == PLAIN else f"times are {unit}"
            other = first if first == PLAIN else f"{first} since 1970"
            raise ValueError(f"{path}: {found}, those of {first_path} {other}; expected times that can be compared")
        if PER_SECOND.get(unit, 1) != 1:
            view = np.frombuffer(self._times, dtype=np.float64)[start:]
            view /= PER_SECOND[unit]
        return unit

    def finish(self) -> Interactions:
        """What was gathered; the collector is empty afterwards."""
        users, items = np.array(self._users, dtype=np.int64), np.array(self._items, dtype=np.int64)
        stamps = np.array(self._times, dtype=np.float64)
        user_names, item_names = list(self._user_numbers), list(self._item_numbers)
        self._clear()
        return Interactions(users, items, stamps, user_names, item_names)


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
