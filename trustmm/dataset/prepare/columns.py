"""Which columns of a table hold user, item and time."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path


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
    Columns("userId", "movieId", "timestamp"),
    Columns("user", "item", "time"),
    Columns("user", "item", "timestamp"),
)
"""Names tried in this order: Amazon 2014, Amazon 2023, the published layout, RecBole and DataRec, MovieLens, plain."""


def known_columns(names: Sequence[str]) -> Columns | None:
    """The first pair of known names for user and item among the fields of a file, time included where it is there."""
    pairs = [columns for columns in KNOWN if {columns.user, columns.item} <= {*names}]
    timed = next((columns for columns in pairs if columns.time in names), None)
    return timed or (replace(pairs[0], time=None) if pairs else None)


def find_columns(
    path: Path, names: Sequence[str], *, user: str | None, item: str | None, time: str | None, need_time: bool
) -> Columns:
    """Which fields of a file hold user, item and time.

    Args:
        path: the file, for messages.
        names: its fields.
        user: what the user typed, or None to find it; `item` and `time` alike.
        item: see `user`.
        time: see `user`; empty to ignore times.
        need_time: whether a file without time is refused.

    Raises: ValueError that names the missing column and those there are.
    """
    known = known_columns(names)
    found = Columns(user or (known.user if known else ""), item or (known.item if known else ""), time or None)
    for option, column in (("--user", found.user), ("--item", found.item)):
        if column not in names:
            said = f"no column {column!r}" if column else "no columns with a known name for user and item"
            hint = f"name it with {option}; for a file without a header line use --header user,item,rating,time"
            raise ValueError(f"{path}: {said} among {listed(names)}; {hint}")
    if time is None and known is not None:
        found = replace(found, time=known.time)
    if (found.time is not None and found.time not in names) or (need_time and found.time is None):
        raise ValueError(f"{path}: no column for time among {listed(names)}; name it with --time")
    return found


def listed(names: Sequence[str]) -> str:
    """The first names, in quotes where something in them would not be seen."""
    return ", ".join(name if name.isprintable() and name else ascii(name) for name in names[:20])
