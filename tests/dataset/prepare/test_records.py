"""Files in every dress, what is broken in them, and what is meant to break us."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest

from trustmm.dataset.prepare import lines
from trustmm.dataset.prepare.records import BrokenLine, field_names, kind_of, parse_object, records
from trustmm.dataset.prepare.tally import Tally

Write = Callable[..., Path]


def read(path: Path, header: tuple[str, ...] | None = None) -> tuple[list[dict], Tally]:
    tally = Tally(path.name)
    return [dict(record) for _, record in records(path, tally, header)], tally


@pytest.mark.parametrize("name", ["a.json", "a.jsonl", "a.json.gz", "packed.json"])
def test_json_lines_are_read_packed_or_not_whatever_the_name(name: str, write: Write) -> None:
    path = write("a.json.gz" if name == "packed.json" else name, ['{"a": 1}', '{"a": "é"}'])
    path = path.rename(path.with_name(name))
    assert read(path)[0] == [{"a": 1}, {"a": "é"}]


def test_python_literals_are_read_and_nothing_is_run(write: Write, tmp_path: Path) -> None:
    evil = f"{{'a': __import__('os').mkdir({str(tmp_path / 'owned')!r})}}"
    found, tally = read(write("meta.json", ["{'a': 'it\\'s', 'b': [['x', 'y']], 'c': None}", evil]))
    assert found == [{"a": "it's", "b": [["x", "y"]], "c": None}]
    assert tally.as_json() == {"neither JSON nor a Python literal": {"count": 1, "first": [2]}}
    assert not (tmp_path / "owned").exists()


BROKEN = {
    "cut off": (b'{"a": 1', "neither JSON nor a Python literal"),
    "no object": (b"[1, 2]", "not an object"),
    "a number": (b"7", "not an object"),
    "empty": (b"", "an empty line"),
    "not UTF-8": (b'{"a": "\xff"}', "a line that is not utf-8 (--encoding)"),
    "deep JSON": (b'{"a": ' + b"[" * 100_000, "neither JSON nor a Python literal"),
    "deep literal": (b"{'a': " + b"(" * 100_000, "neither JSON nor a Python literal"),
    "many signs": (b"{'a': " + b"-" * 100_000 + b"1}", "neither JSON nor a Python literal"),
    "long sum": (b"{'a': 1" + b"+1j" * 50_000 + b"}", "neither JSON nor a Python literal"),
    "long literal": (b"{'a': '" + b"x" * 2**20 + b"'}", "a Python literal longer than 1048576 characters"),
    "long line": (b'{"a": "' + b"x" * (2**22) + b'"}', "a line longer than 4 MiB"),
}


@pytest.mark.parametrize(("line", "reason"), BROKEN.values(), ids=BROKEN.keys())
def test_broken_line_is_counted_and_its_neighbours_are_read(line: bytes, reason: str, write: Write) -> None:
    found, tally = read(write("a.json.gz", ['{"a": 1}', line, '{"a": 2}']))
    assert found == [{"a": 1}, {"a": 2}]
    assert tally.as_json() == {reason: {"count": 1, "first": [2]}}


def test_tally_keeps_the_first_places_only(write: Write) -> None:
    _, tally = read(write("a.json", ["x"] * 9))
    assert tally.as_json()["neither JSON nor a Python literal"] == {"count": 9, "first": [1, 2, 3, 4, 5]}
    assert tally.lines() == ["a.json: neither JSON nor a Python literal: 9 (at 1, 2, 3, 4, 5, ...)"]


def test_csv_with_header_quotes_and_broken_rows(write: Write) -> None:
    rows = ["user,item", 'u1,"a, b"', "u2", "u3,i,x", 'u4,"open', "u5,i5"]
    found, tally = read(write("a.csv.gz", rows))
    assert found == [{"user": "u1", "item": "a, b"}, {"user": "u5", "item": "i5"}]
    assert {reason: case["first"] for reason, case in tally.as_json().items()} == {
        "not 2 columns": [3, 4],
        "quotes that do not match, or a field that is too long": [5],
    }


def test_tsv_without_header_takes_the_given_one(write: Write) -> None:
    found, _ = read(write("a.tsv", ["u\ti", "v\tj"]), ("user", "item"))
    assert found == [{"user": "u", "item": "i"}, {"user": "v", "item": "j"}]


def test_header_of_windows_is_understood(write: Write) -> None:
    path = write("a.csv", [b"\xef\xbb\xbfuser,item\r", b"u,i\r"])
    assert read(path)[0] == [{"user": "u", "item": "i"}]


def test_parquet_rows(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pyarrow.parquet.write_table(pa.table({"user": ["a", None], "item": [1, 2]}), path)
    assert read(path)[0] == [{"user": "a", "item": 1}, {"user": None, "item": 2}]
    assert field_names(path) == ["user", "item"]


def test_what_is_no_parquet_is_refused(write: Write) -> None:
    with pytest.raises(ValueError, match=r"a\.parquet: cannot be read as Parquet"):
        read(write("a.parquet", ["nonsense"]))


@pytest.mark.parametrize("name", ["a.xml", "a.gz", "a.json.zip", "a"])
def test_unknown_suffix_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"expected one of \.json"):
        kind_of(Path(name))


def test_header_twice_or_missing_is_refused(write: Write) -> None:
    with pytest.raises(ValueError, match="line 1: found a column name twice in a, b, a"):
        field_names(write("a.csv", ["a,b,a"]))
    with pytest.raises(ValueError, match="line 1: found an empty line, expected column names"):
        field_names(write("b.csv", []))
    with pytest.raises(ValueError, match="no line can be read"):
        field_names(write("c.json", ["x"]))


def test_truncated_and_damaged_gzip_are_refused(write: Write) -> None:
    path = write("a.json.gz", [json.dumps({"a": number}) for number in range(10_000)])
    whole = path.read_bytes()
    path.write_bytes(whole[:-100])
    with pytest.raises(ValueError, match=r"a\.json\.gz: damaged after line \d+ .*; fetch the file again"):
        read(path)
    path.write_bytes(whole[:1000] + b"\0" * 50 + whole[1050:])
    with pytest.raises(ValueError, match="damaged after line"):
        read(path)


def test_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "UNSUSPICIOUS", 2**20)
    path = tmp_path / "bomb.json.gz"
    path.write_bytes(gzip.compress((b" " * 65535 + b"\n") * 128))
    with pytest.raises(ValueError, match="unpacks to more than 500 times its size"):
        read(path)
    path.write_bytes(gzip.compress(b"x" * 2**23))
    with pytest.raises(ValueError, match="unpacks to more than 500 times its size"):
        read(path)


def test_stray_backslash_in_a_literal_is_no_warning() -> None:
    assert parse_object(r"{'a': 'C:\drive'}") == {"a": "C:\\drive"}
    with pytest.raises(BrokenLine):
        parse_object("{'a': open('x')}")
