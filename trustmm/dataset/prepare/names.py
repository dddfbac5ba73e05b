"""Names of users and items: what may be one, and the one form in which they are compared."""

import re
import unicodedata
from typing import Any

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
