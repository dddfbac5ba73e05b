"""Records of any file that holds a table: JSON lines, Python-literal lines, CSV, TSV, triples, RecBole or Parquet."""

import ast
import codecs
import csv
import json
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trustmm.dataset.access import named
from trustmm.dataset.prepare.columns import known_columns, listed
from trustmm.dataset.prepare.lines import numbered_lines
from trustmm.dataset.prepare.tally import Tally

Record = Mapping[str, Any]
JSON_LINES = (".json", ".jsonl", ".ndjson")
SEPARATORS = {".csv": ",", ".tsv": "\t", ".inter": "\t", ".item": "\t"}
TRIPLES = (".txt", ".data", ".dat", ".uir", ".uirt")
"""Tables of Cornac and MovieLens: no header, and the first of `TRIPLE_SEPARATORS` that the first line has."""
TRIPLE_SEPARATORS = ("::", "\t", ",")
TRIPLE_COLUMNS = ("user", "item", "rating", "time")
TYPED = re.compile(r"(.+):(token|token_seq|float|float_seq)")
"""A column of RecBole's atomic files: name and type; a sequence has spaces between its elements."""
PARQUET = ".parquet"
KINDS = (*JSON_LINES, *SEPARATORS, *TRIPLES, PARQUET)
LONGEST_LITERAL = 2**20
"""Bytes of a Python literal that are parsed: the parser's memory grows with many times the text."""
EMPTY = "an empty line"
UTF_8 = "utf-8"
UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


class BrokenLine(ValueError):
    """A line that is no record; its text is the reason."""


@dataclass(frozen=True)
class Table:
    """How the lines of a text table are read."""

    separator: str | None
    """None: any white space."""
    names: Sequence[str]
    sequences: frozenset[str] = frozenset()
    """Columns whose values are lists with spaces between the elements."""
    header_lines: int = 0

    def parse(self, text: str) -> Record:
        """The record of a line.

        Raises: BrokenLine.
        """
        fields = _fields(text, self.separator)
        if len(fields) != len(self.names):
            raise BrokenLine(f"not {len(self.names)} columns")
        record: dict[str, Any] = dict(zip(self.names, fields, strict=True))
        for name in self.sequences:
            record[name] = record[name].split(" ")
        return record


def kind_of(path: Path) -> str:
    """The suffix that says how a file is read, ``.gz`` left out.

    Raises: ValueError for another suffix.
    """
    suffix = Path(path.name.removesuffix(".gz")).suffix.lower()
    if suffix not in KINDS:
        known = ", ".join(KINDS)
        raise ValueError(
            f"{path}: found the suffix {suffix!r}, expected one of {known}, all but .parquet also with .gz"
        )
    return suffix


def _kind(path: Path, header: Sequence[str] | None) -> str:
    kind = kind_of(path)
    if header is not None and kind in (*JSON_LINES, PARQUET):
        raise ValueError(f"{path}: --header and --item-header are for text tables such as CSV without a header line")
    return kind


def field_names(path: Path, header: Sequence[str] | None = None, encoding: str = UTF_8) -> list[str]:
    """Names of the fields of a file: its columns, or the keys of its first readable object; arguments of `records`.

    Raises: ValueError for a file that cannot be read or has no records.
    """
    kind = _kind(path, header)
    if kind == PARQUET:
        return _parquet_columns(path)
    if kind not in JSON_LINES:
        return list(_table(path, kind, header, encoding).names)
    found = next(records(path, Tally(path.name), header, encoding=encoding), None)
    if found is None:
        raise ValueError(f"{path}: no line can be read, expected one object per line")
    return [str(name) for name in found[1]]


def records(
    path: Path,
    tally: Tally,
    header: Sequence[str] | None = None,
    columns: Sequence[str] | None = None,
    encoding: str = UTF_8,
) -> Iterator[tuple[int, Record]]:
    """Records with their line (for Parquet: row) numbers from 1; broken lines are counted.

    A row of a text table is one line: no line breaks inside quotes.

    Args:
        path: the file; its suffix decides, see `kind_of`.
        tally: counts broken lines.
        header: column names of a text table whose first line is data already.
        columns: columns to read from a Parquet file; None for all. Other kinds return all columns.
        encoding: of text, see `check_encoding`.

    Raises: ValueError for a file that cannot be read as what its suffix says.
    """
    kind = _kind(path, header)
    if kind == PARQUET:
        yield from enumerate(parquet_rows(path, columns, batch_size=4096), start=1)
        return
    parse, skipped = parse_object, 0
    if kind not in JSON_LINES:
        table = _table(path, kind, header, encoding)
        parse, skipped = table.parse, table.header_lines
    for number, line in _lines(path):
        if number <= skipped:
            continue
        try:
            yield number, parse(_text(line, encoding))
        except BrokenLine as reason:
            if str(reason) == EMPTY:
                tally.add(EMPTY, number)
            else:
                tally.lose(str(reason), number)


def list_of_names(path: Path, encoding: str = UTF_8) -> list[str]:
    """The lines of a text file.

    Raises: ValueError that names the file and a line that is not in this encoding.
    """
    names = []
    for number, line in _lines(path):
        try:
            names.append(_text(line, encoding))
        except BrokenLine as reason:
            raise ValueError(f"{path}, line {number}: found {reason}, expected the name of an item") from reason
    return names


def parse_object(text: str) -> Record:
    """An object written in JSON or, as in the metadata of 2014, as a Python literal.

    Only literals are understood; nothing is evaluated.

    Raises: BrokenLine.
    """
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = _literal(text)
    if not isinstance(found, dict):
        raise BrokenLine("not an object")
    return found


def _literal(text: str) -> Any:
    if not text.startswith("{"):
        raise BrokenLine("neither JSON nor a Python literal")
    if len(text) > LONGEST_LITERAL:
        raise BrokenLine(f"a Python literal longer than {LONGEST_LITERAL} characters")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # strings with a stray backslash are common, and mean it literally
            return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
        raise BrokenLine("neither JSON nor a Python literal") from error


def _lines(path: Path) -> Iterator[tuple[int, bytes | None]]:
    with named("read as lines of text", path):
        for number, line in numbered_lines(path):
            if number == 1 and line is not None and line.startswith(UTF_16):
                raise ValueError(f"{path}: found a file in UTF-16, expected UTF-8; convert the file")
            yield number, line


def check_encoding(key: str, encoding: str) -> None:
    """ValueError unless this names an encoding in which a line ends with one byte, as in ASCII."""
    try:
        fine = "\n,".encode(encoding) == b"\n,"
    except (LookupError, ValueError):
        fine = False
    if not fine:
        raise ValueError(f"{key} must be an encoding such as utf-8, latin-1 or cp1252, got {encoding!r}")


def _text(line: bytes | None, encoding: str = UTF_8) -> str:
    if line is None:
        raise BrokenLine("a line longer than 4 MiB")
    try:
        # A mark may also stand inside a file: where files were appended to each other.
        text = line.removeprefix(codecs.BOM_UTF8).decode(encoding).rstrip("\r\n")
    except UnicodeDecodeError:
        raise BrokenLine(f"a line that is not {encoding} (--encoding)") from None
    if not text.strip():
        raise BrokenLine(EMPTY)
    return text


def _table(path: Path, kind: str, header: Sequence[str] | None, encoding: str) -> Table:
    """How a text table is read, from its suffix, its first line and what the user said."""
    first = next(_lines(path), (1, b""))[1]
    try:
        line = _text(first, encoding)
    except BrokenLine as reason:
        if header is not None and kind in SEPARATORS:
            return Table(SEPARATORS[kind], header)
        raise ValueError(f"{path}, line 1: found {reason}, expected column names or a record") from reason
    if kind in TRIPLES:
        return _triples(path, line, header)
    if header is not None:  # u.item of MovieLens has bars
        bars = kind == ".item" and "|" in line and "\t" not in line
        return Table("|" if bars else SEPARATORS[kind], header)
    try:
        names = _fields(line, SEPARATORS[kind])
    except BrokenLine as reason:
        raise ValueError(f"{path}, line 1: found {reason}, expected column names") from reason
    types = [TYPED.fullmatch(name) for name in names]
    sequences: frozenset[str] = frozenset()
    if all(types):
        names = [found[1] for found in types if found]
        sequences = frozenset(found[1] for found in types if found and found[2].endswith("_seq"))
    if len(set(names)) != len(names):
        raise ValueError(f"{path}, line 1: found a column name twice in {listed(names)}")
    return Table(SEPARATORS[kind], names, sequences, header_lines=1)


def _triples(path: Path, line: str, header: Sequence[str] | None) -> Table:
    separator = next((found for found in TRIPLE_SEPARATORS if found in line), None)
    fields = _fields(line, separator)
    if header is not None:
        return Table(separator, header)
    if known_columns(fields) is not None and len(set(fields)) == len(fields):
        return Table(separator, fields, header_lines=1)
    if not 2 <= len(fields) <= len(TRIPLE_COLUMNS):
        expected = "user, item and optionally rating and time; name the columns with --header user,item,..."
        raise ValueError(f"{path}, line 1: found {len(fields)} columns without a header, expected {expected}")
    return Table(separator, TRIPLE_COLUMNS[: len(fields)])


def _fields(text: str, separator: str | None) -> list[str]:
    if '"' not in text or separator is None or len(separator) > 1:
        return text.split(separator)
    try:
        return next(csv.reader([text], delimiter=separator, strict=True))
    except (csv.Error, StopIteration):
        raise BrokenLine("quotes that do not match, or a field that is too long") from None


def _parquet_columns(path: Path) -> list[str]:
    import pyarrow.parquet

    with readable_parquet(path):
        return list(pyarrow.parquet.read_schema(path).names)


def parquet_rows(path: Path, columns: Sequence[str] | None, batch_size: int) -> Iterator[Record]:
    """Rows of a Parquet file, in bounded memory.

    Raises: ValueError for a file that cannot be read.
    """
    import pyarrow.parquet

    with readable_parquet(path), pyarrow.parquet.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=batch_size, columns=columns):
            yield from batch.to_pylist()


@contextmanager
def readable_parquet(path: Path) -> Iterator[None]:
    """Name the file in whatever the library has to say about it.

    Raises: ValueError.
    """
    import pyarrow

    try:
        yield
    except (pyarrow.ArrowException, OSError, ValueError, OverflowError, TypeError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{path}: cannot be read as Parquet: {reason[:200]}") from error
