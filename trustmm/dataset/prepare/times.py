"""Times of any table as seconds: units are told by the range of the numbers."""

import math
from bisect import bisect_right
from datetime import UTC, date, datetime
from typing import Any

PER_SECOND = {"seconds": 1.0, "milliseconds": 1e3, "microseconds": 1e6, "nanoseconds": 1e9}
"""Units since 1970."""
PLAIN = "plain numbers"
"""What lies in no range: days, ranks, 20140513; its order is all that is known."""
EXPECTED = "numbers, dates, or text such as 2014-05-13 or 2014-05-13T12:00:00"
_BOUNDS = [bound * scale for scale in PER_SECOND.values() for bound in (1e8, 1e10)]
"""From 1973 to 2286 in each unit."""
_UNITS = [PLAIN, *(name for unit in PER_SECOND for name in (unit, PLAIN))]


def time_of(value: Any) -> tuple[float, str]:
    """A time as a number and its unit; NaN for what is none.

    Dates and ISO 8601 text become seconds since 1970, in UTC where they name no zone. The unit of a number is that in
    which it lies between 1973 and 2286; the ranges do not overlap.
    """
    try:
        if isinstance(value, datetime):
            return (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp(), "seconds"
        if isinstance(value, date):
            return datetime(value.year, value.month, value.day, tzinfo=UTC).timestamp(), "seconds"
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            return math.nan, PLAIN
        number = float(value)
        return (number, _UNITS[bisect_right(_BOUNDS, abs(number))]) if math.isfinite(number) else (math.nan, PLAIN)
    except OverflowError:
        return math.nan, PLAIN
    except ValueError:
        return _of_text(str(value))


def _of_text(text: str) -> tuple[float, str]:
    try:
        return time_of(datetime.fromisoformat(text.strip()))
    except (ValueError, OverflowError):
        return math.nan, PLAIN
