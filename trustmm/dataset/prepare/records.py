"""Records of any file that holds a table: JSON lines, Python-literal lines, CSV, TSV or Parquet."""

import ast
import csv
import json
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from trustmm.dataset.prepare.lines import numbered_lines
from trustmm.dataset.prepare.tally import Tally

Record = Mapping[str, Any]
JSON_LINES = (".json", ".jsonl", ".ndjson")
SEPARATORS = {".csv": ",", ".tsv": "\t", ".inter": "\t"}
PARQUET = ".parquet"
LONGEST_LITERAL = 2**20
"""Bytes of a Python literal that are parsed: the parser's memory grows with many times the text."""


class BrokenLine(ValueError):
    """A line that is no record; its text is the reason."""


def kind_of(path: Path) -> str:
    """The suffix that says how a file is read, ``.gz`` left out.

    Raises: ValueError for another suffix.
    """
    suffix = Path(path.name.removesuffix(".gz")).suffix.lower()
    if suffix not in (*JSON_LINES, *SEPARATORS, PARQUET):
        known = ", ".join((*JSON_LINES, *SEPARATORS, PARQUET))
        raise ValueError(
            f"{path}: found the suffix {suffix!r}, expected one of {known}, all but .parquet also with .gz"
        )
    return suffix


def field_names(path: Path, header: Sequence[str] | None = None) -> list[str]:
    """Names of the fields of a file: its columns, or the keys of its first readable object.

    Raises: ValueError for a file that cannot be read or has no records.
    """
    kind = kind_of(path)
    if kind == PARQUET:
        return _parquet_columns(path)
    if kind in SEPARATORS and header is None:
        return _header(path, numbered_lines(path), kind)
    found = next(records(path, Tally(path.name), header), None)
    if found is None:
        raise ValueError(f"{path}: no line can be read, expected records")
    return list(found[1])


def records(
    path: Path, tally: Tally, header: Sequence[str] | None = None, columns: Sequence[str] | None = None
) -> Iterator[tuple[int, Record]]:
    """Records with their line (for Parquet: row) numbers from 1; broken ones go to the tally.

    A row of a CSV file is one line: no line breaks inside quotes.

    Args:
        path: the file; its suffix decides, see `kind_of`.
        tally: where broken lines are counted.
        header: column names of a CSV or TSV file whose first line is data already.
        columns: what is wanted of a Parquet file; None for all. Other kinds give all they have.

    Raises: ValueError for a file that cannot be read as what its suffix says.
    """
    kind = kind_of(path)
    if header is not None and kind not in SEPARATORS:
        raise ValueError(f"{path}: --header is for CSV and TSV files without a header line")
    if kind == PARQUET:
        yield from _parquet_rows(path, columns)
        return
    lines = numbered_lines(path)
    parse: Callable[[str], Record] = parse_object
    if kind in SEPARATORS:
        parse = _row_parser(path, SEPARATORS[kind], header if header is not None else _header(path, lines, kind))
    for number, line in lines:
        try:
            yield number, parse(_text(line))
        except BrokenLine as reason:
            tally.add(str(reason), number)


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


def _text(line: bytes | None) -> str:
    if line is None:
        raise BrokenLine("longer than a line may be")
    try:
        text = line.decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError:
        raise BrokenLine("not UTF-8") from None
    if not text.strip():
        raise BrokenLine("empty line")
    return text


def _header(path: Path, lines: Iterator[tuple[int, bytes | None]], kind: str) -> list[str]:
    try:
        _, line = next(lines)
        names = _fields(_text(line).removeprefix("\ufeff"), SEPARATORS[kind])
    except (StopIteration, BrokenLine) as error:
        raise ValueError(f"{path}, line 1: found no header, expected column names") from error
    if len(set(names)) != len(names):
        raise ValueError(f"{path}, line 1: found a column name twice in {', '.join(names)}")
    return names


def _row_parser(path: Path, separator: str, names: Sequence[str]) -> Callable[[str], Record]:
    def parse(text: str) -> Record:
        fields = _fields(text, separator)
        if len(fields) != len(names):
            raise BrokenLine(f"not {len(names)} columns")
        return dict(zip(names, fields, strict=True))

    return parse


def _fields(text: str, separator: str) -> list[str]:
    if '"' not in text:
        return text.split(separator)
    try:
        return next(csv.reader([text], delimiter=separator, strict=True))
    except (csv.Error, StopIteration):
        raise BrokenLine("quotes that do not match, or a field that is too long") from None


def _parquet_columns(path: Path) -> list[str]:
    import pyarrow
    import pyarrow.parquet

    try:
        return list(pyarrow.parquet.read_schema(path).names)
    except (pyarrow.ArrowException, OSError) as error:
        raise ValueError(f"{path}: cannot be read as Parquet: {error}") from error


def _parquet_rows(path: Path, columns: Sequence[str] | None) -> Iterator[tuple[int, Record]]:
    import pyarrow
    import pyarrow.parquet

    number = 0
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=4096, columns=columns):
                for row in batch.to_pylist():
                    number += 1
                    yield number, row
    except (pyarrow.ArrowException, OSError) as error:
        raise ValueError(f"{path}: cannot be read as Parquet after row {number}: {error}") from error
