"""Whatever the bytes of a file are, a reader says ValueError in one line with the path, and allocates little."""

import gzip
import json
import os
import resource
import struct
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trustmm.cli.describe import main as describe
from trustmm.cli.prepare import main as prepare
from trustmm.dataset.access import named
from trustmm.dataset.folder import FolderDataset, read_splits
from trustmm.dataset.layout import read_names
from trustmm.dataset.matrix import open_matrix
from trustmm.dataset.prepare.feature_files import FeatureFile
from trustmm.dataset.prepare.images import binary_rows, check_binary, load_image
from trustmm.dataset.prepare.interactions import Collector
from trustmm.dataset.prepare.options import Preparation
from trustmm.dataset.prepare.records import KINDS, field_names, records
from trustmm.dataset.prepare.tally import Tally
from trustmm.dataset.provenance import read_provenance
from trustmm.dataset.statistics import health

NPY = b"\x93NUMPY"
INTER = "userID\titemID\tx_label\n" + "".join(f"{n}\t{n}\t{n % 3}\n" for n in range(6))


def npy(header: bytes, body: bytes = b"\0" * 64, version: bytes = b"\x01\x00") -> bytes:
    width = "<H" if version == b"\x01\x00" else "<I"
    return NPY + version + struct.pack(width, len(header)) + header + body


def shaped(shape: str, dtype: str = "'<f4'") -> bytes:
    return npy(f"{{'descr': {dtype}, 'fortran_order': False, 'shape': {shape}}}\n".encode())


HEADERS = {
    "a bool in the shape": shaped("(True, 4)"),
    "bools": shaped("(True, True)"),
    "a width of 1e12": shaped("(0, 1000000000000)"),
    "a width of 1e12 and rows": shaped("(2, 1000000000000)"),
    "1e12 rows": shaped("(1000000000000, 4)"),
    "a shape beyond 64 bits": shaped("(4, 10**30)".replace("10**30", "1" + "0" * 30)),
    "5,000 digits": shaped(f"({'9' * 5000}, 4)"),
    "a negative width": shaped("(4, -1)"),
    "a negative product": shaped("(-4, -4)"),
    "no width": shaped("(4, 0)"),
    "a float in the shape": shaped("(4.0, 4)"),
    "a list as the shape": shaped("[4, 4]"),
    "a text as the shape": shaped("'ab'"),
    "a shape of None": shaped("None"),
    "a hundred axes": shaped(f"({'1,' * 100})"),
    "no header": npy(b""),
    "a list as the header": npy(b"[1, 2]\n"),
    "deep brackets": npy(b"(" * 5000 + b"\n"),
    "deep signs": npy(b"-" * 9000 + b"1\n"),
    "a call": npy(b"{'descr': __import__('os').getcwd(), 'fortran_order': False, 'shape': (1, 1)}\n"),
    "an unknown type": shaped("(4, 4)", "'<q9'"),
    "a type that is a number": shaped("(4, 4)", "7"),
    "a type of nothing": shaped("(4, 4)", "None"),
    "a type of lists": shaped("(4, 4)", "[[[]]]"),
    "a wide type": shaped("(4, 4)", "'<V1000000000'"),
    "a long text type": shaped("(1, 4)", "'<U1000000000'"),
    "objects": shaped("(4, 4)", "'|O'"),
    "long double": shaped("(1, 1)", "'<f16'"),
    "bytes that are no text": npy(b"\xff\xfe\x00\n"),
    "a header said to be 4 GB": NPY + b"\x02\x00" + b"\xff" * 4 + b"x" * 100,
    "a header said to be longer": NPY + b"\x01\x00" + b"\xff\xff" + b"x",
    "format 3": npy(b"{}", version=b"\x03\x00"),
    "format 9": npy(b"{}", version=b"\x09\x09"),
    "cut in the magic": NPY[:4],
    "cut after the magic": NPY,
    "cut in the version": NPY + b"\x01",
    "cut in the length": NPY + b"\x01\x00\x10",
    "cut in the numbers": shaped("(4, 5)"),
    "nothing": b"",
}


@pytest.mark.parametrize("content", HEADERS.values(), ids=HEADERS.keys())
def test_malformed_npy_is_one_line(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "f.npy"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"^\S*f\.npy \(key\): [^\n]{1,500}$"):
        open_matrix(path, "key", 4)


def test_header_with_a_backslash_or_of_python_2_is_no_warning(tmp_path: Path) -> None:
    path = tmp_path / "f.npy"
    path.write_bytes(shaped("(4L, 4L)"))
    assert open_matrix(path, "key").shape == (4, 4)
    path.write_bytes(shaped("(4, 4)", r"'\d'"))
    with pytest.raises(ValueError, match="cannot be read"):
        open_matrix(path, "key")


# Readers, each with the suffixes that lead to it. All consume what they read.


def whole_folder(path: Path) -> None:
    folder = path.parent / "toys"
    folder.mkdir(exist_ok=True)
    (folder / "toys.inter").write_text(INTER)
    os.replace(path, folder / "image_feat.npy")
    FolderDataset(name="toys", root=str(path.parent), modalities={"visual": "image_feat.npy"})()


def table(path: Path) -> None:
    names = field_names(path)
    found = {name: names[place % len(names)] for place, name in enumerate(("user", "item", "time"))}
    options = Preparation(out=path.parent / "out", interactions=(path,), split="time", **found)
    tally, collector = Tally("x"), Collector(need_time=True)
    collector.add(path, records(path, tally), options._columns(path), tally)
    tally.check(path, 0.05)


def table_with_a_header(path: Path) -> None:
    tally, collector = Tally("x"), Collector(need_time=False)
    columns = Preparation(out=path, interactions=(path,), header=("user", "item", "x"))._columns(path)
    collector.add(path, records(path, tally, ("user", "item", "x")), columns, tally)
    tally.check(path, 0.05)


def features(path: Path) -> None:
    file = FeatureFile(path)
    file.check()
    list(file.rows())


def item_list(path: Path) -> None:
    np.save(path.with_name("f.npy"), np.ones((3, 1)))
    list(FeatureFile(path.with_name("f.npy"), path).rows())


def amazon(path: Path) -> None:
    check_binary(path)
    list(binary_rows(path))


READERS: dict[str, tuple[Callable[[Path], Any], tuple[str, ...]]] = {
    "matrix": (lambda path: health(open_matrix(path, "key")), (".npy",)),
    "folder": (whole_folder, (".npy",)),
    "interactions": (read_splits, (".inter",)),
    "names": (lambda path: read_names(path, 3), (".tsv",)),
    "table": (table, (*KINDS, *(f"{kind}.gz" for kind in KINDS if kind != ".parquet"))),
    "table with a header": (table_with_a_header, (".csv", ".tsv", ".data", ".txt")),
    "features": (features, (".npy", ".parquet")),
    "list of items": (item_list, (".txt",)),
    "binary": (amazon, (".b", ".b.gz")),
    "provenance": (lambda path: read_provenance(path.parent), ("dataset.json",)),
}

WORDS = [
    b"user",
    b"item",
    b"time",
    b"user_id:token",
    b"x:float_seq",
    b"\t",
    b",",
    b"::",
    b"\n",
    b"\r\n",
    b"\r",
    b'"',
    b"{",
]
WORDS += [
    b"}",
    b"[",
    b"'",
    b":",
    b"1",
    b"1e999",
    b"-1",
    b"9" * 5000,
    b"\x00",
    b"\xff",
    b"\xef\xbb\xbf",
    b"\xff\xfe",
    b"\\ud800",
]
WORDS += [
    "\u200d\u2028\u00a0e\u0301".encode(),
    b"NaN",
    b"null",
    b"True",
    b"(" * 300,
    b"-" * 300,
    b"userID\titemID\tx_label\n",
]
WORDS += [
    b"1\t2\t0\n",
    b'{"user": "a", "item": 1, "time": 2}\n',
    b"{1: 2}\n",
    b'{"user": {}}\n',
    b"a,b,c\n",
    b"1::2::3::4\n",
]
WORDS += [NPY, b"\x01\x00", b"PAR1", b"\x1f\x8b"]


def seeds() -> list[bytes]:
    """Good files, to be damaged."""
    sink, matrix = pa.BufferOutputStream(), np.ones((3, 2), dtype=np.float32)
    table = pa.table(
        {"user": ["a", "b"], "item": [1, 2], "time": pa.array([1, 2], pa.timestamp("ns")), "x": [0.5, 1.5]}
    )
    pyarrow.parquet.write_table(table, sink)
    array = b"\x93NUMPY\x01\x00" + struct.pack("<H", 60)
    array += b"{'descr': '<f4', 'fortran_order': False, 'shape': (3, 2)}".ljust(59) + b"\n" + matrix.tobytes()
    lines = b'{"user": "a", "item": "b", "time": 3}\n' * 3
    record = b"B000000001" + bytes(4 * 4096)
    return [
        sink.getvalue().to_pybytes(),
        array,
        lines,
        gzip.compress(lines),
        record,
        gzip.compress(record),
        INTER.encode(),
    ]


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    content = bytearray(draw(st.sampled_from(seeds())))
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, max(0, len(content) - 1)))
        how = draw(st.sampled_from(["change", "cut", "insert", "repeat"]))
        if how == "cut":
            del content[place:]
        elif how == "change" and content:
            content[place] = draw(st.integers(0, 255))
        elif how == "insert":
            content[place:place] = draw(st.sampled_from(WORDS))
        else:
            content[place:place] = content[: 64 * 1024]
    return bytes(content)


CONTENT = st.one_of(st.binary(max_size=200), st.lists(st.sampled_from(WORDS), max_size=12).map(b"".join), damaged())


@pytest.fixture(scope="module")
def bounded_memory() -> Iterator[None]:
    """At most 4 GiB of address space beyond what the process has: what a header claims is not allocated."""
    pages = int(Path("/proc/self/statm").read_text().split()[0]) if Path("/proc/self/statm").exists() else 0
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    if pages:
        resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + 4 * 2**30, hard))
    yield
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


@pytest.mark.parametrize(("reader", "suffixes"), READERS.values(), ids=READERS.keys())
@pytest.mark.usefixtures("bounded_memory")
def test_any_bytes_are_read_or_refused_in_one_line_with_the_path(
    reader: Callable[[Path], Any], suffixes: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("fuzz")

    @settings(max_examples=25 * len(suffixes), suppress_health_check=list(HealthCheck), database=None)
    @given(CONTENT, st.sampled_from(suffixes))
    def check(content: bytes, suffix: str) -> None:
        path = folder / (suffix if "." in suffix[1:] and not suffix.startswith(".") else f"f{suffix}")
        path.write_bytes(content)
        try:
            reader(path)
        except ValueError as error:
            said = str(error)
            assert str(folder) in said, said
            assert "\n" not in said, said
            assert len(said) < 1500, said

    check()


def test_any_bytes_are_an_image_or_none(tmp_path: Path) -> None:
    magics = [b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF89a", b"BM"]

    @settings(max_examples=60, suppress_health_check=list(HealthCheck), database=None)
    @given(st.one_of(st.binary(max_size=100), damaged()), st.sampled_from(magics))
    def check(content: bytes, magic: bytes) -> None:
        (tmp_path / "image").write_bytes(magic + content)
        image = load_image(tmp_path / "image")
        assert image is None or image.mode == "RGB"

    check()


def test_error_of_a_decoder_is_no_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for error in (struct.error("x"), IndexError("x"), EOFError("x"), MemoryError("x"), TypeError("x")):
        monkeypatch.setattr("PIL.Image.open", Mock(side_effect=error))
        assert load_image(tmp_path / "image") is None


# What the operating system refuses.


def loop(folder: Path) -> Path:
    (folder / "one").symlink_to(folder / "two")
    (folder / "two").symlink_to(folder / "one")
    return folder / "one"


PLACES: dict[str, tuple[Callable[[Path], Path], str]] = {
    "a loop of links": (loop, "Too many levels of symbolic links"),
    "a loop above": (lambda folder: loop(folder) / "toys", "Too many levels of symbolic links"),
    "a long name": (lambda folder: folder / ("x" * 300), "File name too long"),
    "a long path": (lambda folder: Path(str(folder) + "/x" * 3000), "File name too long"),
    "/proc": (lambda folder: Path("/proc/nope/toys"), "No such file|is missing|not a folder|is not there"),
}


def refused(capsys: pytest.CaptureFixture[str], command: Callable[[list[str]], None], *words: str) -> str:
    with pytest.raises(SystemExit) as done:
        command(list(words))
    assert done.value.code == 1
    said = capsys.readouterr().err
    assert said.startswith("trustmm: "), said
    assert said.count("\n") == 1, said
    return said


@pytest.mark.parametrize(("place", "reason"), PLACES.values(), ids=PLACES.keys())
def test_place_that_cannot_be_reached_is_one_line_with_path_and_key(
    place: Callable[[Path], Path], reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = place(tmp_path)
    good = tmp_path / "r.csv"
    good.write_text("user,item\n" + "".join(f"u{u},i{i}\n" for u in range(5) for i in range(5)))
    out = str(tmp_path / "out")
    for key, words in {
        "--interactions": ["--interactions", f"{path}.csv"],
        "--metadata": ["--metadata", f"{path}.csv", "--text-model", "tfidf"],
        "--attributes": ["--attributes", f"{path}.csv"],
        "--images": ["--images", str(path), "--vision-model", "histogram"],
        "--features": ["--features", "visual", f"{path}.npy"],
        "--image-features": ["--image-features", f"{path}.b"],
        "--vision-weights": ["--vision-model", "vgg16", "--vision-weights", str(path)],
    }.items():
        base = ["--out", out] + ([] if key == "--interactions" else ["--interactions", str(good)])
        said = refused(capsys, prepare, *base, *words)
        assert key in said, said
        assert str(path)[:50] in said, said
    said = refused(capsys, prepare, "--out", str(path), "--interactions", str(good))
    assert "--out" in said, said
    assert "already exists" in said or any(one in said for one in reason.split("|")), said
    for root, name, key in ((path, "toys", "dataset.root"), (path, None, "dataset.name")):
        with pytest.raises(ValueError, match=r"dataset\.(root|name)") as error:
            FolderDataset(name=name, root=str(root), modalities={})()
        assert "\n" not in str(error.value), key
    refused(capsys, describe, str(path))


def test_reason_of_the_operating_system_is_told(tmp_path: Path) -> None:
    for place, reason in list(PLACES.values())[:4]:
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        folder.mkdir()
        with pytest.raises(ValueError, match=rf"\(dataset\.root\): .*{reason}"):
            FolderDataset(name="toys", root=str(place(folder)), modalities={})()


def test_folder_without_permission_is_one_line_with_path_and_key(tmp_path: Path) -> None:
    """In a process that is not root, which nothing is forbidden."""
    folder = tmp_path / "toys"
    folder.mkdir()
    (folder / "toys.inter").write_text(INTER)
    (folder / "toys.inter").chmod(0)
    for above in [tmp_path, *tmp_path.parents[:3]]:
        if above.owner() == folder.owner() and above != Path("/tmp"):
            above.chmod(0o755)
    script = f"""
import os, sys
from trustmm.dataset.folder import FolderDataset
from trustmm.cli.describe import main
from trustmm.cli.prepare import main as prepare
if os.geteuid() == 0:
    os.seteuid(65534)
for call in (lambda: FolderDataset(name="toys", root={str(tmp_path)!r}, modalities={{}})(),
             lambda: prepare(["--out", {str(tmp_path / "a")!r}, "--interactions", {str(folder / "toys.inter")!r}]),
             lambda: main([{str(folder)!r}])):
    try:
        call()
        print("accepted")
    except ValueError as error:
        print(error)
    except SystemExit:
        pass
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, cwd="/")
    said = done.stdout + done.stderr
    lines = said.splitlines()
    assert len(lines) == 3, said
    assert all("toys.inter (" in line and "Permission denied" in line for line in lines), said


def test_error_without_a_file_names_the_path(tmp_path: Path) -> None:
    with (
        pytest.raises(ValueError, match=r"^/data/toys \(--out\): No space left on device$"),
        named("--out", "/data/toys"),
    ):
        raise OSError(28, "No space left on device")


def test_key_of_an_object_that_is_no_text_is_no_error(tmp_path: Path) -> None:
    path = tmp_path / "m.json"
    path.write_text("{1: 2, None: 3}\n" + json.dumps({"user": "a"}))
    assert field_names(path) == ["1", "None"]


def test_header_is_not_read_as_long_as_it_says(tmp_path: Path) -> None:
    path = tmp_path / "f.npy"
    path.write_bytes(NPY + b"\x02\x00" + struct.pack("<I", 2**28))
    os.truncate(path, 2**28 + 100)
    tracemalloc.start()
    with pytest.raises(ValueError, match="a header of 268435456 bytes"):
        open_matrix(path, "key")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**20


@pytest.mark.parametrize("name", ["toys.inter", "image_feat.npy"])
def test_loop_of_links_in_a_folder_is_one_line(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "toys"
    folder.mkdir()
    (folder / "toys.inter").write_text(INTER)
    (folder / name).unlink(missing_ok=True)
    (folder / name).symlink_to("other")
    (folder / "other").symlink_to(name)
    with pytest.raises(
        ValueError, match=rf"{name} \((the interactions of )?dataset\.\S+\): Too many levels of symbolic"
    ):
        FolderDataset(name="toys", root=str(tmp_path), modalities={"visual": "image_feat.npy"})()


PARQUET_VALUES = {
    "text that is no UTF-8": pa.array([b"\xff\xfe", b"a"]).view(pa.string()),
    "a time beyond the calendar": pa.array([10**15, 1], pa.timestamp("s")),
    "a date beyond the calendar": pa.array([10**8, 1], pa.int32()).view(pa.date32()),
}


@pytest.mark.parametrize("values", PARQUET_VALUES.values(), ids=PARQUET_VALUES.keys())
def test_value_of_parquet_that_python_cannot_hold_names_the_file(values: pa.Array, tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pyarrow.parquet.write_table(pa.table({"user": values, "item": [1, 2]}), path)
    with pytest.raises(ValueError, match=r"a\.parquet: cannot be read as Parquet: [^\n]*$"):
        list(records(path, Tally("a")))
