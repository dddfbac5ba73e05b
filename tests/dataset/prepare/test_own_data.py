"""What real files do to ids, times and encodings: each is read right or refused with path, column and example."""

import codecs
import json
import re
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from numpy.testing import assert_array_equal

from trustmm.cli.prepare import feature_groups, main, parser
from trustmm.dataset.folder import FolderDataset
from trustmm.dataset.layout import read_names
from trustmm.dataset.prepare.feature_files import FeatureFile
from trustmm.dataset.prepare.hashed_text import HashedTextEncoder
from trustmm.dataset.prepare.names import name_of
from trustmm.dataset.prepare.options import Preparation
from trustmm.dataset.prepare.pipeline import prepare
from trustmm.dataset.prepare.times import PER_SECOND, PLAIN, time_of

Write = Callable[..., Path]
Pairs = list[tuple[str, str, int]]
ITEMS = 8
ITEM_NAMES = [f"B{item:09d}" for item in range(ITEMS)]
HEADER = "user,item,time"


def make(out: Path, *files: Path, **options: Any) -> dict[str, Any]:
    encoder = HashedTextEncoder() if "metadata" in options else None
    return prepare(Preparation(out=out, interactions=files, **options), text_encoder=encoder)


def as_csv(pairs: Pairs, scale: float = 1) -> list[str]:
    return [f"{user},{item},{time * scale:.0f}" for user, item, time in pairs]


def rows_of(folder: Path, modality: str = "visual") -> dict[str, list[float]]:
    matrix = FolderDataset(name=None, root=str(folder), modalities=None)().features[modality]
    return dict(zip(read_names(folder / "items.tsv", len(matrix)), matrix.tolist(), strict=True))


# Times.


@pytest.mark.parametrize("unit", PER_SECOND)
def test_unit_is_told_by_the_range_of_the_number(unit: str) -> None:
    for moment in (
        datetime(1974, 1, 1, tzinfo=UTC),
        datetime(2026, 1, 1, tzinfo=UTC),
        datetime(2280, 1, 1, tzinfo=UTC),
    ):
        assert time_of(moment.timestamp() * PER_SECOND[unit])[1] == unit
        assert time_of(f"{moment.timestamp() * PER_SECOND[unit]:.0f}")[1] == unit


@pytest.mark.parametrize("value", [0, 7, -1, 20140513, 20140513120000, 41772.5, "3"])
def test_number_that_is_no_time_since_1970_is_plain(value: Any) -> None:
    assert time_of(value) == (float(value), PLAIN)


@pytest.mark.parametrize("value", [date(1970, 1, 2), datetime(1970, 1, 2), "1970-01-02", " 1970-01-02T00:00:00+00:00 "])
def test_date_is_seconds_however_early(value: Any) -> None:
    assert time_of(value) == (86400.0, "seconds")


@pytest.mark.parametrize("value", ["13.05.2014", "", None, True, b"1", "nan", "inf", 10**400, [1], "9999999-01-01"])
def test_what_is_no_time_is_nan(value: Any) -> None:
    assert np.isnan(time_of(value)[0])


@pytest.mark.parametrize("scale", [1e3, 1e6, 1e9])
def test_files_with_different_units_give_the_data_of_one_unit(
    scale: float, write: Write, pairs: Pairs, tmp_path: Path
) -> None:
    halves = pairs[: len(pairs) // 2], pairs[len(pairs) // 2 :]
    one = [write(f"s{number}.csv", [HEADER, *as_csv(half)]) for number, half in enumerate(halves)]
    other = write("scaled.csv", [HEADER, *as_csv(halves[1], scale)])
    seconds = make(tmp_path / "seconds", *one, split="time")
    mixed = make(tmp_path / "mixed", one[0], other, split="time")
    assert mixed["digest"] == seconds["digest"]
    inter = "seconds/seconds.inter", "mixed/mixed.inter"
    assert (tmp_path / inter[0]).read_bytes() == (tmp_path / inter[1]).read_bytes()
    assert [found["unit"] for found in mixed["columns"]] == ["seconds", {v: k for k, v in PER_SECOND.items()}[scale]]


@pytest.mark.parametrize("split", ["random", "time"])
@pytest.mark.parametrize("wrong", ["1400000000000", "0", "17"])
def test_units_mixed_in_a_file_are_refused(wrong: str, split: Any, write: Write, pairs: Pairs, tmp_path: Path) -> None:
    path = write("r.csv", [HEADER, *as_csv(pairs), f"U00,B000000000,{wrong}"])
    with pytest.raises(ValueError, match=rf"r\.csv: found times of different units, '14.*at 2 .* '{wrong}' at 98"):
        make(tmp_path / "toys", path, split=split)
    assert make(tmp_path / "toys", path, time="")["columns"][0]["time"] is None  # the way out that the message names


def test_ranks_in_one_file_and_times_in_the_other_are_refused(write: Write, pairs: Pairs, tmp_path: Path) -> None:
    ranks = write("ranks.csv", [HEADER, *(f"{u},{i},{rank}" for rank, (u, i, _) in enumerate(pairs))])
    times = write("times.csv", [HEADER, *as_csv(pairs)])
    with pytest.raises(ValueError, match=r"times\.csv: times are seconds since 1970, those of .*ranks\.csv plain numb"):
        make(tmp_path / "toys", ranks, times)
    with pytest.raises(ValueError, match=r"ranks\.csv: times are plain numbers, those of .*times\.csv seconds since"):
        make(tmp_path / "toys", times, ranks)


# Byte order marks.

BOM = codecs.BOM_UTF8


def with_mark(path: Path) -> Path:
    path.write_bytes(BOM + path.read_bytes())
    return path


MARKED: dict[str, tuple[str, Callable[[Pairs], list[str]], dict[str, Any]]] = {
    "JSON lines": ("r.json", lambda p: [json.dumps({"user": u, "item": i, "time": t}) for u, i, t in p], {}),
    "CSV with a header": ("r.csv", lambda p: [HEADER, *as_csv(p)], {}),
    "quoted header": ("q.csv", lambda p: ['"user","item","time"', *as_csv(p)], {}),
    "CSV without a header": ("h.csv", as_csv, {"header": ("user", "item", "time")}),
    "triples": ("r.data", lambda p: [f"{u}\t{i}\t1\t{t}" for u, i, t in p], {}),
    "RecBole": ("r.inter", lambda p: ["user_id:token\titem_id:token", *(f"{u}\t{i}" for u, i, _ in p)], {}),
}


@pytest.mark.parametrize(("name", "lines", "options"), MARKED.values(), ids=MARKED.keys())
def test_byte_order_mark_is_no_part_of_the_first_id(
    name: str, lines: Callable[[Pairs], list[str]], options: dict[str, Any], write: Write, pairs: Pairs, tmp_path: Path
) -> None:
    path = write(name, lines(pairs))
    plain = make(tmp_path / "plain", path, **options)
    marked = make(tmp_path / "marked", with_mark(path), **options)
    assert marked["digest"] == plain["digest"]
    for table in ("users.tsv", "items.tsv"):
        assert (tmp_path / "marked" / table).read_bytes() == (tmp_path / "plain" / table).read_bytes()


def test_byte_order_mark_inside_glued_files_and_in_parquet_is_dropped(
    write: Write, pairs: Pairs, tmp_path: Path
) -> None:
    lines = [f"{u},{i},{t}".encode() for u, i, t in pairs]
    path = write("r.csv", [BOM + HEADER.encode(), *lines[:50], BOM + lines[50], *lines[51:]])
    plain = make(tmp_path / "plain", write("p.csv", [HEADER, *as_csv(pairs)]))
    assert make(tmp_path / "glued", path)["digest"] == plain["digest"]
    users, items, _ = zip(*pairs, strict=True)
    table = pa.table({"user": ["\ufeff" + users[0], *users[1:]], "item": items})
    pyarrow.parquet.write_table(table, tmp_path / "r.parquet")
    assert make(tmp_path / "parquet", tmp_path / "r.parquet")["digest"] == plain["digest"]


def test_byte_order_mark_of_an_item_list_moves_no_row(write: Write, pairs: Pairs, tmp_path: Path) -> None:
    np.save(tmp_path / "f.npy", np.arange(ITEMS)[:, None].astype(float))
    items = with_mark(write("items.txt", ITEM_NAMES))
    path = write("r.csv", [HEADER, *as_csv(pairs)])
    make(tmp_path / "toys", path, features={"visual": FeatureFile(tmp_path / "f.npy", items)})
    assert rows_of(tmp_path / "toys") == {name: [float(place)] for place, name in enumerate(ITEM_NAMES)}


# Ids in every script and form.

INVISIBLE = {"ZWNJ": "می\u200cخواهم", "ZWJ": "क्\u200dष", "NBSP": "a\u00a0b", "ideographic space": "東\u3000京"}
INVISIBLE |= {"line separator": "a\u2028b", "variation selector": "❤\ufe0f", "right to left": "\u202eabc"}


@pytest.mark.parametrize("name", INVISIBLE.values(), ids=INVISIBLE.keys())
def test_id_with_an_invisible_character_is_kept_to_the_last_byte(
    name: str, write: Write, pairs: Pairs, tmp_path: Path
) -> None:
    renamed = [(user, name if item == ITEM_NAMES[3] else item, time) for user, item, time in pairs]
    metadata = write("m.csv", ["item,title", *(f"{one},thing" for one in (*ITEM_NAMES[:3], name, *ITEM_NAMES[4:]))])
    path = write("r.csv", [HEADER, *as_csv(renamed)])
    made = make(tmp_path / "toys", path, metadata=metadata, text_fields=("title",))
    assert (made["steps"][-1]["interactions"], made["not_used"]) == (len(pairs), [])
    assert name in read_names(tmp_path / "toys" / "items.tsv", ITEMS)


@pytest.mark.parametrize(
    "value", ["a\tb", "a\nb", "a\0", "\x85", "\ud800", "", "x" * 257, 10**300, 1.0, b"a", None, True]
)
def test_what_cannot_be_a_name_is_none(value: Any) -> None:
    assert name_of(value) is None


def test_normal_forms_match_in_every_source(write: Write, pairs: Pairs, tmp_path: Path) -> None:
    composed, decomposed = "caf\u00e9", "cafe\u0301"
    swap = {ITEM_NAMES[0]: composed}
    renamed = [
        (user, (decomposed if user < "U06" else composed) if item in swap else item, time) for user, item, time in pairs
    ]
    np.save(tmp_path / "f.npy", np.arange(ITEMS)[:, None].astype(float))
    features = {"visual": FeatureFile(tmp_path / "f.npy", write("items.txt", [decomposed, *ITEM_NAMES[1:]]))}
    made = make(tmp_path / "toys", write("r.csv", [HEADER, *as_csv(renamed)]), features=features)
    assert made["steps"][-1]["items"] == ITEMS
    assert rows_of(tmp_path / "toys")[composed] == [0.0]


# Encodings.


def test_file_in_utf_16_is_named(write: Write, pairs: Pairs, tmp_path: Path) -> None:
    for codec in ("utf-16-le", "utf-16-be"):
        mark = codecs.BOM_UTF16_LE if codec.endswith("le") else codecs.BOM_UTF16_BE
        path = tmp_path / "r.csv"
        path.write_bytes(mark + "\n".join([HEADER, *as_csv(pairs)]).encode(codec))
        with pytest.raises(ValueError, match=r"r\.csv: found a file in UTF-16, expected UTF-8"):
            make(tmp_path / "toys", path)


def test_file_in_latin_1_is_named_with_a_line(write: Write, pairs: Pairs, tmp_path: Path) -> None:
    lines = [f"é{line}".encode("latin-1") for line in as_csv(pairs)]
    with pytest.raises(ValueError, match=r"r\.csv: 96 of 96 records cannot .*not utf-8 \(--encoding\): 96 \(at 2, 3,"):
        make(tmp_path / "toys", write("r.csv", [HEADER, *lines]))
    with pytest.raises(
        ValueError, match=r"h\.csv, line 1: found a line that is not utf-8 \(--encoding\), expected column"
    ):
        make(tmp_path / "toys", write("h.csv", ["usér,item".encode("latin-1"), *lines]))
    np.save(tmp_path / "f.npy", np.ones((ITEMS, 1)))
    items = write("items.txt", [*ITEM_NAMES[:-1], "é".encode("latin-1")])
    reviews, features = write("g.csv", [HEADER, *as_csv(pairs)]), {"visual": FeatureFile(tmp_path / "f.npy", items)}
    with pytest.raises(
        ValueError, match=r"items\.txt, line 8: found a line that is not utf-8 \(--encoding\), expected the"
    ):
        make(tmp_path / "toys", reviews, features=features)


MOVIELENS = {
    "movies.dat": ("item,title,genres", "{item}::Caf\u00e9 {item} (1995)::Drama|War"),
    "u.item": ("item,title,date,genres", "{item}|Caf\u00e9 {item} (1995)|01-Jan-1995|Drama"),
}


@pytest.mark.parametrize("name", MOVIELENS)
def test_items_of_movielens_are_read_in_their_encoding_with_named_columns(
    name: str, write: Write, pairs: Pairs, tmp_path: Path
) -> None:
    header, line = MOVIELENS[name]
    path = write(name, [line.format(item=item).encode("latin-1") for item in ITEM_NAMES])
    reviews, out = write("ratings.dat", [f"{u}::{i}::5::{t}" for u, i, t in pairs]), tmp_path / "toys"
    words = ["--out", str(out), "--interactions", str(reviews), "--item-header", header, "--encoding", "latin-1"]
    words += ["--attributes", str(path), "genres", "--metadata", str(path), "--text-fields", "title"]
    main([*words, "--text-model", "tfidf"])
    found = FolderDataset(name=None, root=str(out), modalities=None)().features
    assert found["attribute"].shape == (ITEMS, 2 if name == "movies.dat" else 1)
    assert (found["textual"] != 0).any(axis=1).all()
    made = json.loads((out / "dataset.json").read_text())
    assert (made["options"]["encoding"], made["options"]["item_header"]) == ("latin-1", header.split(","))
    with pytest.raises(ValueError, match=rf"{name}.* a line that is not utf-8 \(--encoding\)"):
        make(tmp_path / "other", reviews, attributes=path, attribute_columns=("genres",), item_header=header.split(","))


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32-le", "nope", "", "base64"])
def test_encoding_whose_lines_do_not_end_as_in_ascii_is_refused(
    encoding: str, write: Write, pairs: Pairs, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=f"--encoding must be an encoding such as utf-8, latin-1 .*, got '{encoding}'"):
        make(tmp_path / "toys", write("r.csv", [HEADER, *as_csv(pairs)]), encoding=encoding)


# The first step that failed.


def parquet(path: Path, **columns: Any) -> Path:
    pyarrow.parquet.write_table(pa.table(columns), path)
    return path


COLUMN_TYPES = {
    "float64": (pa.float64(), lambda n: float(n), r"float such as 2\.0"),
    "binary": (pa.binary(), lambda n: b"u%d" % n, r"bytes such as b'u2'"),
    "timestamp": (pa.timestamp("s"), lambda n: datetime(2020, 1, n + 1), r"datetime such as datetime\."),
    "null": (pa.string(), lambda n: None, "nothing"),
    "boolean": (pa.bool_(), lambda n: n >= 0, "bool such as True"),
    "list": (pa.list_(pa.string()), lambda n: ["a"], r"list such as \['a'\]"),
}


@pytest.mark.parametrize(("kind", "convert", "found"), COLUMN_TYPES.values(), ids=COLUMN_TYPES.keys())
@pytest.mark.parametrize("side", ["user", "item"])
def test_id_column_of_another_type_is_named_with_an_example(
    side: str, kind: Any, convert: Callable[[int], Any], found: str, pairs: Pairs, tmp_path: Path
) -> None:
    users, items, _ = zip(*pairs, strict=True)
    values = pa.array([convert(int((users if side == "user" else items)[row][-2:])) for row in range(len(pairs))], kind)
    if side == "item":
        found = found.replace("2", "7", 1)
    path = parquet(tmp_path / "r.parquet", **({"user": users, "item": items} | {side: values}))
    expected = rf"r\.parquet: 96 of 96 records cannot be used.*: no usable {side}: 96 .* column '{side}' holds {found}"
    with pytest.raises(ValueError, match=expected):
        make(tmp_path / "toys", path)


def test_unread_dates_are_named_with_an_example(write: Write, pairs: Pairs, tmp_path: Path) -> None:
    path = write("r.csv", [HEADER, *(f"{user},{item},13.05.2014" for user, item, _ in pairs)])
    with pytest.raises(ValueError, match=r"no usable time: 96 .* column 'time' holds str such as '13\.05\.2014', expe"):
        make(tmp_path / "toys", path, split="time")
    assert make(tmp_path / "toys", path)["columns"][0]["unit"] is None


def test_item_column_of_features_and_metadata_is_named(write: Write, pairs: Pairs, tmp_path: Path) -> None:
    reviews = write("r.csv", [HEADER, *as_csv(pairs)])
    file = parquet(tmp_path / "f.parquet", asin=[1.0, 2.0], x=[0.5, 0.5])
    with pytest.raises(ValueError, match=r"f\.parquet: 2 of 2 .* column 'asin' holds float such as 1\.0"):
        make(tmp_path / "toys", reviews, features={"visual": FeatureFile(file)})
    metadata = parquet(tmp_path / "m.parquet", asin=[1.0, 2.0], title=["a", "b"])
    with pytest.raises(ValueError, match=r"m\.parquet: 2 of 2 .* column 'asin' holds float such as 1\.0"):
        make(tmp_path / "toys", reviews, metadata=metadata)
    with pytest.raises(ValueError, match=r"m\.parquet: 2 of 2 .* column 'asin' holds float such as 1\.0"):
        make(tmp_path / "toys", reviews, attributes=metadata, attribute_columns=("title",))


# The share that cannot be used.


@pytest.mark.parametrize(("broken", "refused"), [(5, False), (6, True)])
def test_more_than_a_twentieth_of_unusable_records_is_refused(
    broken: int, refused: bool, write: Write, pairs: Pairs, tmp_path: Path
) -> None:
    path = write("r.csv", [HEADER, *as_csv(pairs), *["broken"] * broken, *[""] * 50])
    if refused:
        with pytest.raises(ValueError, match=r"6 of 102 records cannot be used, --tolerance 0\.05 allows 5: not 3 col"):
            make(tmp_path / "toys", path)
        make(tmp_path / "toys", path, tolerance=0.1)
    else:
        make(tmp_path / "toys", path)


def attributes_of(items: list[str], write: Write) -> dict[str, Any]:
    return {"attributes": write("a.csv", ["item,genres", *(f"{name},x|y" for name in items)])}


def metadata_of(items: list[str], write: Write) -> dict[str, Any]:
    return {"metadata": write("a.csv", ["item,title", *(f"{name},text" for name in items)])}


def rows_for(items: list[str], write: Write) -> dict[str, Any]:
    path = write("a.txt", items)
    np.save(path.with_name("f.npy"), np.ones((len(items), 2)))
    return {"features": {"visual": FeatureFile(path.with_name("f.npy"), path)}}


@pytest.mark.parametrize("source", [attributes_of, metadata_of, rows_for])
def test_more_than_a_share_of_items_without_content_is_refused(
    source: Callable[..., Any], write: Write, pairs: Pairs, tmp_path: Path
) -> None:
    reviews = write("r.csv", [HEADER, *as_csv(pairs)])
    options = source(ITEM_NAMES[:7], write)
    with pytest.raises(ValueError, match=r"1 of 8 items have no .*, such as 'B000000007'; --tolerance 0\.05 allows 0"):
        make(tmp_path / "toys", reviews, **options)
    make(tmp_path / "toys", reviews, tolerance=0.125, **options)


def test_tolerance_of_the_command_is_a_share(write: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--out", str(tmp_path / "t"), "--interactions", str(write("r.csv", ["a"])), "--tolerance", "5"])
    assert capsys.readouterr().err == "trustmm: --tolerance must be in [0, 1], got 5\n"


# The command takes what its help shows.


def test_features_are_taken_as_the_help_shows_them() -> None:
    shown = " ".join(parser().format_usage().split())
    assert "[--features NAME FILE [ITEMS] [NAME FILE [ITEMS] ...]]" in shown
    words = "visual clip.npy clip_items.txt textual bert.parquet audio a.npy ./list".split()
    assert dict(feature_groups(words)) == {
        "visual": FeatureFile(Path("clip.npy"), Path("clip_items.txt")),
        "textual": FeatureFile(Path("bert.parquet")),
        "audio": FeatureFile(Path("a.npy"), Path("list")),
    }
    for wrong in (["visual"], ["visual", "a.npy", "list"], ["a.npy", "visual"]):
        with pytest.raises(ValueError, match=re.escape(f"--features {' '.join(wrong)}: expected NAME FILE [ITEMS]")):
            list(feature_groups(wrong))


def test_command_reads_several_modalities_of_one_option(write: Write, pairs: Pairs, tmp_path: Path) -> None:
    for name in ("a", "b"):
        np.save(tmp_path / f"{name}.npy", np.full((ITEMS, 1), ord(name), dtype=float))
    items = str(write("items.txt", ITEM_NAMES))
    reviews = str(write("r.csv", [HEADER, *as_csv(pairs)]))
    files = ["visual", str(tmp_path / "a.npy"), items, "textual", str(tmp_path / "b.npy"), items]
    main(["--out", str(tmp_path / "toys"), "--interactions", reviews, "--features", *files])
    found = FolderDataset(name=None, root=str(tmp_path / "toys"), modalities=None)().features
    assert_array_equal(found["visual"], ord("a"))
    assert_array_equal(found["textual"], ord("b"))
