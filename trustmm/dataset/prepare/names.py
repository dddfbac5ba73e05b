"""Names of users and items: what may be one, and the one form in which they are compared."""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from trustmm.dataset.prepare.tally import Tally

LONGEST_ID = 256
"""Characters."""
EXPECTED = f"text of 1 to {LONGEST_ID} characters without control characters, or whole numbers"
BYTE_ORDER_MARK = "\ufeff"
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
"""Control characters, which would break the tables of names, and halves of surrogate pairs, which no file can hold.

Invisible characters that belong to a script or a name stay: joiners, no-break and ideographic spaces.
"""


def name_of(value: Any) -> str | None:
    """A user's or item's name as text in the Unicode normal form NFC, or None for what cannot be one.

    Files disagree about the form (macOS writes NFD), and would not match otherwise. Byte order marks around a name are
    left behind by programs that glue files together.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        return None
    if not value.isascii():
        value = unicodedata.normalize("NFC", value).strip(BYTE_ORDER_MARK)
    return value if 0 < len(value) <= LONGEST_ID and not _CONTROL.search(value) else None


def one_per_item(
    records: Iterable[tuple[int, Mapping[str, Any]]],
    item_column: str,
    numbers: Mapping[str, int],
    tally: Tally,
    *,
    kind: str,
) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Dense id and first record of every item of the data set that has one.

    Args:
        records: with their numbers, for messages.
        item_column: the field that holds the item.
        numbers: dense id by item name.
        tally: counts the other records.
        kind: of the records, for messages.
    """
    seen: set[int] = set()
    for number, record in records:
        name = name_of(record.get(item_column))
        if name is None:
            tally.lose_value("no usable item", number, item_column, record.get(item_column), EXPECTED)
            continue
        tally.used += 1
        place = numbers.get(name)
        if place is None:
            tally.add("item not in the data set", name)
        elif place in seen:
            tally.add(f"second {kind} record of an item", name)
        else:
            seen.add(place)
            yield place, record
