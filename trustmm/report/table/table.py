"""A table as Markdown for reading and as CSV for computing; `trustmm.report.table.latex` sets it for a paper."""

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from trustmm.statistics.seeds import Interval


@dataclass(frozen=True)
class Number:
    """A value of a table, shown with its digits."""

    value: float
    digits: int = 4
    bold: bool = False
    signed: bool = False

    def __str__(self) -> str:
        if not math.isfinite(self.value):
            return ""
        return f"{self.value:{'+' if self.signed else ''}.{self.digits}f}"


@dataclass(frozen=True)
class Table:
    """Rows of text and numbers under a caption."""

    name: str
    """Stem of its files."""
    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    """Text or `Number`."""
    caption: str = ""
    notes: Sequence[str] = field(default=())

    def markdown(self) -> str:
        """As Markdown, title first, caption below."""
        lines = [f"| {' | '.join(self.columns)} |", "|" + "---|" * len(self.columns)]
        lines += [f"| {' | '.join(_markdown(value) for value in row)} |" for row in self.rows]
        below = [text for text in (self.caption, *self.notes) if text]
        return "\n".join([f"**{self.title}**", "", *lines, "", *[f"{text}\n" for text in below]])

    def telling(self) -> "Table":
        """Without columns that are empty, and without the environment where it is one: for a page and a paper."""
        columns = [(name, {str(row[place]) for row in self.rows}) for place, name in enumerate(self.columns)]
        one = any(name == "environment" and len(values) == 1 for name, values in columns)
        kept = [
            place
            for place, (name, values) in enumerate(columns)
            if not self.rows or (any(values) and not (one and name == "environment"))
        ]
        notes = [note for note in self.notes if not (one and note.startswith("Environment "))]
        rows = [[row[place] for place in kept] for row in self.rows]
        return replace(self, columns=[self.columns[place] for place in kept], rows=rows, notes=notes)

    def csv(self) -> str:
        """As CSV with unrounded numbers; the caption is not in it."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(self.columns)
        writer.writerows([[_raw(value) for value in row] for row in self.rows])
        return text.getvalue()


def _markdown(value: Any) -> str:
    text = str(value).replace("|", r"\|")
    return f"**{text}**" if isinstance(value, Number) and value.bold and text else text


def _raw(value: Any) -> Any:
    if isinstance(value, Number):
        return repr(float(value.value)) if math.isfinite(value.value) else ""
    return value


def interval_text(interval: Interval, digits: int = 4) -> str:
    """The interval in brackets; what one seed says about it is nothing."""
    if interval.num_seeds == 1:
        return "one seed"
    return f"[{interval.low:+.{digits}f}, {interval.high:+.{digits}f}]"


def p_text(p: float) -> str:
    """A p value, never 0."""
    return "< 0.0001" if p < 1e-4 else f"{p:.4f}"
