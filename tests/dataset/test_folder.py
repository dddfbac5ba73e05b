"""The folder reader: good folders in every dress, one message per mistake, the real data where they are."""

import io
import os
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from omegaconf import OmegaConf

from trustmm.dataset.data import Dataset
from trustmm.dataset.folder import FolderDataset

PROJECT = Path(__file__).resolve().parents[2]
REAL_ROOT = Path(os.environ.get("TRUSTMM_DATA") or PROJECT.parent / "shared" / "data")

HEADER = "userID\titemID\tx_label"
ROWS = ["0\t0\t0", "0\t3\t1", "1\t1\t0", "1\t2\t2", "2\t0\t0", "2\t3\t0", "2\t2\t1", "1\t3\t2"]
TRAIN = ([0, 1, 2, 2], [0, 1, 0, 3])
NUM_USERS, NUM_ITEMS = 3, 4
FLOATS = np.linspace(-1, 1, NUM_ITEMS * 2, dtype=np.float32).reshape(NUM_ITEMS, 2)


@pytest.fixture
def toys(tmp_path: Path) -> Path:
    """ROOT/toys, a good folder: three users, four items, one visual modality."""
    folder = tmp_path / "toys"
    folder.mkdir()
    write(folder, HEADER, *ROWS)
    np.save(folder / "image_feat.npy", FLOATS)
    return folder


def write(folder: Path, *lines: str, end: str = "\n") -> None:
    (folder / "toys.inter").write_bytes((end.join(lines) + end).encode())


def reader(folder: Path, **changes: Any) -> FolderDataset:
    options = {"name": "toys", "root": str(folder.parent), "modalities": {"visual": "image_feat.npy"}}
    return FolderDataset(**(options | changes))


def read(folder: Path, **changes: Any) -> Dataset:
    return reader(folder, **changes)()


# Mistakes in what the user types: found when the stage is built, before any file is touched.

BAD_NAME = r"^dataset\.name must be a plain folder name such as sports, got "
BAD_FILE = r"^dataset\.modalities\.visual must be a \.npy file name without path, got "
BAD_MODALITY = r"^dataset\.modalities: a modality must be a name such as visual, got "
NO_ROOT = (
    r"^dataset\.root is not set: give the folder that holds toys/toys\.inter, "
    r"as dataset\.root=/path/to/data or in the environment variable TRUSTMM_DATA$"
)
TYPED = {
    "name empty": ({"name": ""}, BAD_NAME + "''$"),
    "name parent": ({"name": ".."}, BAD_NAME + r"'\.\.'$"),
    "name climbs": ({"name": "../toys"}, BAD_NAME + r"'\.\./toys'$"),
    "name nested": ({"name": "a/b"}, BAD_NAME + "'a/b'$"),
    "name backslash": ({"name": "a\\b"}, BAD_NAME),
    "name absolute": ({"name": "/etc"}, BAD_NAME + "'/etc'$"),
    "name hidden": ({"name": ".git"}, BAD_NAME + r"'\.git'$"),
    "name dots inside": ({"name": "a..b"}, BAD_NAME),
    "name zero byte": ({"name": "a\0b"}, BAD_NAME),
    "name newline": ({"name": "toys\n"}, BAD_NAME),
    "name missing": ({"name": "???"}, BAD_NAME + r"'\?\?\?'$"),
    "name number": ({"name": 7}, BAD_NAME + "7$"),
    "root none": ({"root": None}, NO_ROOT),
    "root empty": ({"root": ""}, NO_ROOT),
    "modalities list": (
        {"modalities": ["image_feat.npy"]},
        r"^dataset\.modalities must map .*got \['image_feat\.npy'\]$",
    ),
    "modality with space": ({"modalities": {"my images": "a.npy"}}, BAD_MODALITY + "'my images'$"),
    "modality empty": ({"modalities": {"": "a.npy"}}, BAD_MODALITY + "''$"),
    "modality number": ({"modalities": {0: "a.npy"}}, BAD_MODALITY + "0$"),
    "file in folder": ({"modalities": {"visual": "sub/a.npy"}}, BAD_FILE + r"'sub/a\.npy'$"),
    "file climbs": ({"modalities": {"visual": "../a.npy"}}, BAD_FILE),
    "file absolute": ({"modalities": {"visual": "/tmp/a.npy"}}, BAD_FILE),
    "file hidden": ({"modalities": {"visual": ".npy"}}, BAD_FILE),
    "file suffix": ({"modalities": {"visual": "image_feat.pt"}}, BAD_FILE + r"'image_feat\.pt'$"),
    "file none": ({"modalities": {"visual": None}}, BAD_FILE + "None$"),
    "categories climb": ({"categories": "../kind.npy"}, r"^dataset\.categories must be a \.npy file name without path"),
}


@pytest.mark.parametrize(("changes", "message"), TYPED.values(), ids=TYPED.keys())
def test_typed_mistake_fails_before_files_are_read(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        reader(Path("/nowhere/toys"), **changes)


# Mistakes in the folder: each entry spoils a good folder and gives the message. DIR stands for ROOT.


def row(line: int, text: str) -> Callable[[Path], None]:
    """The good file with one line replaced; the header is line 1."""
    lines = [HEADER, *ROWS]
    lines[line - 1] = text
    return lambda folder: write(folder, *lines)


def inter(*lines: str) -> Callable[[Path], None]:
    return lambda folder: write(folder, *lines)


def raw(content: bytes) -> Callable[[Path], object]:
    return lambda folder: (folder / "toys.inter").write_bytes(content)


def features(matrix: Any) -> Callable[[Path], None]:
    return lambda folder: np.save(folder / "image_feat.npy", np.asarray(matrix), allow_pickle=True)


def features_bytes(change: Callable[[bytes], bytes]) -> Callable[[Path], object]:
    return lambda folder: (folder / "image_feat.npy").write_bytes(change((folder / "image_feat.npy").read_bytes()))


def with_value(value: float, dtype: str) -> np.ndarray:
    matrix = FLOATS.astype(dtype)
    matrix[2, 1] = value
    return matrix


def move_away(folder: Path) -> None:
    folder.rename(folder.with_name("elsewhere"))


def flatten(folder: Path) -> None:
    for path in folder.iterdir():
        path.rename(folder.parent / path.name)
    folder.rmdir()


def replace_root_by_file(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    folder.parent.rmdir()
    folder.parent.write_text("a file")


def link_out(name: str) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        (folder / name).rename(folder.parent / "outside")
        (folder / name).symlink_to(folder.parent / "outside")

    return spoil


def dangle(folder: Path) -> None:
    (folder / "image_feat.npy").unlink()
    (folder / "image_feat.npy").symlink_to("gone.npy")


def unlink(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def directory(name: str) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        (folder / name).unlink()
        (folder / name).mkdir()

    return spoil


def zipped(_: bytes) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, FLOATS)
    return buffer.getvalue()


INTER = r"^DIR/toys/toys\.inter"
NPY = r"^DIR/toys/image_feat\.npy \(dataset\.modalities\.visual\)"
ONCE = r"; expected userID, itemID, x_label once each, between tabs$"
IDS = r"numbered 0, 1, 2, \.\.\."
UNREADABLE = r": found a \.npy file that cannot be read: .*; expected a complete matrix of floats, no objects$"
NOT_NPY = r", expected a \.npy file \(numpy\.save\)$"
DTYPE = r", expected float16, float32 or float64$"
FINITE = r", expected numbers that are finite as float32 \(rows with others: 1\)$"

FOLDERS: dict[str, tuple[Callable[[Path], object], str]] = {
    # places
    "root is a file": (
        replace_root_by_file,
        r"^dataset\.root=DIR is not a folder; expected the folder that holds toys/$",
    ),
    "folder missing": (
        move_away,
        r"^dataset\.name=toys: DIR/toys does not exist; dataset\.root holds the folders elsewhere$",
    ),
    "root too deep": (flatten, r"^dataset\.root=DIR holds toys\.inter itself; expected the folder above$"),
    "inter missing": (
        unlink("toys.inter"),
        INTER + r" \(the interactions of dataset\.name\) is missing; the folder has files image_feat\.npy$",
    ),
    "inter is a directory": (directory("toys.inter"), INTER + r" .* is missing; the folder has files image_feat\.npy$"),
    "inter leads out": (
        link_out("toys.inter"),
        INTER + r" .* leads to DIR/outside; expected a file inside DIR/toys$",
    ),
    "features missing": (unlink("image_feat.npy"), NPY + r" is missing; the folder has files toys\.inter$"),
    "features are a directory": (directory("image_feat.npy"), NPY + r" is missing; the folder has files toys\.inter$"),
    "features lead out": (link_out("image_feat.npy"), NPY + r" leads to DIR/outside; expected a file inside DIR/toys$"),
    "features dangle": (dangle, NPY + r" is missing; the folder has files toys\.inter$"),
    # header and shape of the table
    "inter empty": (raw(b""), INTER + r": the file is empty, expected a header line with userID, itemID, x_label$"),
    "inter blank": (raw(b"\n \n"), INTER + r": the file is empty, expected a header line"),
    "inter only a byte order mark": (raw(b"\xef\xbb\xbf"), INTER + r": the file is empty, expected a header line"),
    "only a header": (
        inter(HEADER),
        INTER + r": found only the header on line 1, expected rows of user, item and label",
    ),
    "header without user": (
        row(1, "user\titemID\tx_label"),
        INTER + r", line 1: found userID 0 times in \['user', 'itemID', 'x_label'\]" + ONCE,
    ),
    "header without item": (row(1, "userID\titem\tx_label"), INTER + r", line 1: found itemID 0 times in .*" + ONCE),
    "header without label": (
        inter("userID\titemID\trating", *ROWS),
        INTER + r", line 1: found x_label 0 times in \['userID', 'itemID', 'rating'\]" + ONCE,
    ),
    "header twice": (
        inter(HEADER + "\tuserID", *[line + "\t0" for line in ROWS]),
        INTER + r", line 1: found userID 2 times in .*" + ONCE,
    ),
    "no header": (inter(*ROWS), INTER + r", line 1: found userID 0 times in \['0', '0', '0'\]" + ONCE),
    "comma separated": (
        inter(*[line.replace("\t", ",") for line in (HEADER, *ROWS)]),
        INTER + r", line 1: found userID 0 times in \['userID,itemID,x_label'\]" + ONCE,
    ),
    "line ends of old": (
        lambda folder: write(folder, HEADER, *ROWS * 50, end="\r"),
        INTER + r", line 1: found x_label 0 times in \['userID', 'itemID', 'x_label\\r0'.{,60}\.\.\." + ONCE,
    ),
    "utf-16": (raw("\n".join([HEADER, *ROWS]).encode("utf-16")), INTER + ", line 1: found userID 0 times in .*" + ONCE),
    "row too short": (
        row(4, "1\t1"),
        INTER + r", line 4: found 2 columns in '1\\t1', expected 3 columns as in the header$",
    ),
    "row too long": (
        row(9, "1\t1\t2\t5"),
        INTER + r", line 9: found 4 columns in .*, expected 3 columns as in the header$",
    ),
    "short and long rows balance": (
        lambda folder: write(folder, HEADER, *ROWS[:-2], "2\t2\t1\t", "1\t3"),
        INTER + r", line 8: found 4 columns in .*, expected 3 columns as in the header$",
    ),
    "blank line inside": (row(3, ""), INTER + r", line 3: found an empty line, expected 3 columns as in the header$"),
    "blank line at the end": (
        inter(HEADER, *ROWS, ""),
        INTER + r", line 10: found an empty line, expected 3 columns as in the header$",
    ),
    # values of the table
    "user a fraction": (row(2, "1.5\t0\t0"), INTER + r", line 2: userID is '1\.5', expected a whole number$"),
    "user a whole float": (row(2, "1.0\t0\t0"), INTER + r", line 2: userID is '1\.0', expected a whole number$"),
    "item a word": (row(5, "1\tabc\t2"), INTER + r", line 5: itemID is 'abc', expected a whole number$"),
    "item empty": (row(5, "1\t\t2"), INTER + r", line 5: itemID is '', expected a whole number$"),
    "label empty": (row(9, "1\t3\t"), INTER + r", line 9: x_label is '', expected a whole number$"),
    "label a word": (row(9, "1\t3\ttest"), INTER + r", line 9: x_label is 'test', expected a whole number$"),
    "user nan": (row(2, "nan\t0\t0"), INTER + r", line 2: userID is 'nan', expected a whole number$"),
    "user quoted": (row(2, '"0"\t0\t0'), INTER + r""", line 2: userID is '"0"', expected a whole number$"""),
    "user other digits": (row(2, "٣\t0\t0"), INTER + r", line 2: userID is '٣', expected a whole number$"),
    "user long word": (
        row(2, "x" * 500 + "\t0\t0"),
        INTER + r", line 2: userID is 'x{79}\.\.\., expected a whole number$",
    ),
    "user beyond int64": (
        row(2, "1" + "0" * 30 + "\t0\t0"),
        INTER + rf", line 2: userID '10{{30}}' has more than 18 digits, expected ids {IDS} and labels 0, 1, 2$",
    ),
    "return inside a line": (
        lambda folder: write(folder, HEADER + "\ttitle", *[line + "\ta\rb" for line in ROWS]),
        INTER + r", line 2: found a carriage return inside the line, expected \\n or \\r\\n at its end$",
    ),
    "user negative": (row(6, "-1\t0\t0"), INTER + rf", line 6: userID is -1, expected ids {IDS}$"),
    "item negative": (row(7, "2\t-3\t0"), INTER + rf", line 7: itemID is -3, expected ids {IDS}$"),
    "user absurd": (
        row(2, "1000000000000\t0\t0"),
        INTER + r", line 2: userID 1000000000000 makes 1000000000001 users, but the file has 8 rows; "
        rf"expected ids {IDS} below 10 x rows \+ 1000 = 1080$",
    ),
    "item absurd": (
        row(9, "1\t9223372036854775807\t2"),
        INTER
        + r", line 9: itemID 9223372036854775807 makes 9223372036854775808 items, but the file has 8 rows; expected",
    ),
    "item just absurd": (row(4, "1\t1080\t0"), INTER + r", line 4: itemID 1080 makes 1081 items, .* \+ 1000 = 1080$"),
    "label three": (
        row(9, "1\t3\t3"),
        INTER + r", line 9: x_label is 3, expected 0 \(train\), 1 \(valid\) or 2 \(test\)$",
    ),
    "label negative": (row(2, "0\t0\t-1"), INTER + r", line 2: x_label is -1, expected 0 \(train\), 1"),
    "pair twice in a split": (
        row(6, "0\t0\t0"),
        INTER + r", lines 2 and 6: user 0 and item 0 are paired twice in train, expected each pair once$",
    ),
    "pair in train and test": (
        row(9, "0\t0\t2"),
        INTER + r", lines 2 and 9: user 0 and item 0 are paired in train and again in test, expected each pair once$",
    ),
    "pair in valid and test": (
        row(5, "0\t3\t2"),
        INTER + r", lines 3 and 5: user 0 and item 3 are paired in valid and again in test, expected each pair once$",
    ),
    "first of two repeated pairs": (
        inter(HEADER, *ROWS, "2\t3\t0", "0\t0\t0"),
        INTER + r", lines 7 and 10: user 2 and item 3 are paired twice in train",
    ),
    "no train": (
        inter(HEADER, *[line[:-1] + "1" for line in ROWS]),
        INTER + r": no row has x_label 0 \(train\); found train 0, valid 8, test 0, expected rows in each split$",
    ),
    "no valid": (
        inter(HEADER, *[line for line in ROWS if not line.endswith("1")]),
        INTER + r": no row has x_label 1 \(valid\); found train 4, valid 0, test 2, expected rows in each split$",
    ),
    "no test": (
        inter(HEADER, *[line for line in ROWS if not line.endswith("2")]),
        INTER + r": no row has x_label 2 \(test\); found train 4, valid 2, test 0, expected rows in each split$",
    ),
    # features
    "features too few rows": (
        features(FLOATS[:-1]),
        NPY + r": found 3 rows, expected 4, the largest itemID of the \.inter file plus one$",
    ),
    "features too many rows": (features(np.vstack([FLOATS, FLOATS])), NPY + r": found 8 rows, expected 4, the largest"),
    "features no rows": (features(FLOATS[:0]), NPY + r": found 0 rows, expected 4, the largest itemID"),
    "features transposed": (features(FLOATS.T), NPY + r": found 2 rows, expected 4, the largest itemID"),
    "features zero wide": (
        features(FLOATS[:, :0]),
        NPY + r": found shape \(4, 0\), expected 4 rows of 1 to 1048576 columns$",
    ),
    "features a vector": (
        features(FLOATS[:, 0]),
        NPY + r": found shape \(4,\), expected 4 rows of 1 to 1048576 columns$",
    ),
    "features of four axes": (
        features(FLOATS[:, :, None, None]),
        NPY + r": found shape \(4, 2, 1, 1\), expected 4 rows",
    ),
    "features a number": (features(np.float32(1)), NPY + r": found shape \(\), expected 4 rows"),
    "features int": (features(np.ones((4, 2), np.int64)), NPY + ": found dtype int64" + DTYPE),
    "features bool": (features(np.ones((4, 2), bool)), NPY + ": found dtype bool" + DTYPE),
    "features complex": (features(FLOATS.astype(np.complex64)), NPY + ": found dtype complex64" + DTYPE),
    "features text": (features(FLOATS.astype("U4")), NPY + ": found dtype <U4" + DTYPE),
    "features structured": (features(np.zeros(4, [("a", "f4")])), NPY + r": found dtype \[\('a', '<f4'\)\]" + DTYPE),
    "features objects": (features(FLOATS.astype(object)), NPY + ": found dtype object" + DTYPE),
    "features nan": (features(with_value(np.nan, "f4")), NPY + ": row 2, column 1 is nan" + FINITE),
    "features infinite": (features(with_value(np.inf, "f4")), NPY + ": row 2, column 1 is inf" + FINITE),
    "features infinite half": (features(with_value(-np.inf, "f2")), NPY + ": row 2, column 1 is -inf" + FINITE),
    "features overflow float32": (
        features(with_value(-1e300, "f8")),
        NPY + r": row 2, column 1 is -1e\+300" + FINITE,
    ),
    "features opposite infinities": (
        features(np.array([[1, 1], [np.inf, -np.inf], [1, 1], [1, 1]])),
        NPY + ": row 1, column 0 is inf" + FINITE,
    ),
    "features empty": (features_bytes(lambda _: b""), NPY + ": found a file that starts with b''" + NOT_NPY),
    "features text file": (
        features_bytes(lambda _: b"0.1 0.2\n"),
        NPY + ": found a file that starts with b'0.1 0." + "'" + NOT_NPY,
    ),
    "features a pickle": (
        features_bytes(lambda _: b"\x80\x04K\x01."),
        NPY + ": found a file that starts with .*" + NOT_NPY,
    ),
    "features an archive": (features_bytes(zipped), NPY + ": found a file that starts with b'PK.*'" + NOT_NPY),
    "features cut in the data": (features_bytes(lambda content: content[:-1]), NPY + UNREADABLE),
    "features cut in the header": (features_bytes(lambda content: content[:40]), NPY + UNREADABLE),
    "features cut in the magic": (features_bytes(lambda content: content[:7]), NPY + UNREADABLE),
    "features header garbled": (features_bytes(lambda content: content.replace(b"{'", b"{{")), NPY + UNREADABLE),
    "features negative shape": (
        features_bytes(lambda content: content.replace(b"(4, 2)", b"(-4,2)")),
        NPY + r": found shape \(-4, 2\), expected 4 rows of 1 to 1048576 columns$",
    ),
    "features huge shape": (
        features_bytes(lambda content: content.replace(b"(4, 2), }" + b" " * 20, b"(4" + b"0" * 20 + b", 2), }")),
        NPY + UNREADABLE,
    ),
    "features claim more": (features_bytes(lambda content: content.replace(b"(4, 2)", b"(9, 2)")), NPY + UNREADABLE),
}


def test_good_folder_of_the_mistakes_is_good(toys: Path) -> None:
    data = read(toys)
    assert min(len(data.train), len(data.valid), len(data.test)) > 0


@pytest.mark.parametrize(("spoil", "message"), FOLDERS.values(), ids=FOLDERS.keys())
def test_malformed_folder_says_where_found_and_expected(
    toys: Path, spoil: Callable[[Path], object], message: str
) -> None:
    spoil(toys)
    stage = reader(toys)
    with pytest.raises(ValueError, match=message.replace("DIR", re.escape(str(toys.parent)))):
        stage()


def test_repeated_pair_among_many_is_reported_in_file_order(toys: Path) -> None:
    rows = [f"{user}\t{item}\t{(user + item) % 3}" for user in range(30) for item in range(30)]
    write(toys, HEADER, *rows, *rows[:450])
    with pytest.raises(ValueError, match=r"toys\.inter, lines 2 and 902: user 0 and item 0 are paired twice in train"):
        read(toys)


def test_missing_folder_list_is_cut_short(tmp_path: Path) -> None:
    for index in range(30):
        (tmp_path / f"set{index:02}").mkdir()
    (tmp_path / "a_file").touch()
    with pytest.raises(ValueError, match=r"holds the folders set00, .*, set19, \.\.\.$"):
        read(tmp_path / "toys")


def test_old_numpy_warning_about_fractions_is_an_error(toys: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def load(*_: object, **__: object) -> np.ndarray:
        warnings.warn("loadtxt(): Parsing an integer via a float is deprecated.", DeprecationWarning, stacklevel=1)
        return np.zeros((8, 3), dtype=np.int64)

    row(3, "0\t3.0\t1")(toys)
    monkeypatch.setattr(np, "loadtxt", load)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(ValueError, match=r"toys\.inter, line 3: itemID is '3\.0', expected a whole number$"):
            read(toys)


# Good folders.


def test_good_folder_is_read_exactly(toys: Path) -> None:
    data = read(toys)
    assert (data.name, data.num_users, data.num_items) == ("toys", NUM_USERS, NUM_ITEMS)
    assert_array_equal(data.train.users, TRAIN[0])
    assert_array_equal(data.train.items, TRAIN[1])
    assert_array_equal(np.stack([data.valid.users, data.valid.items]), [[0, 2], [3, 2]])
    assert_array_equal(np.stack([data.test.users, data.test.items]), [[1, 1], [2, 3]])
    assert {len(split.user_degree) for split in (data.train, data.valid, data.test)} == {NUM_USERS}
    assert {len(split.item_degree) for split in (data.train, data.valid, data.test)} == {NUM_ITEMS}
    assert_array_equal(data.features["visual"], FLOATS, strict=True)


def test_a_split_seed_deals_the_same_pairs_out_anew_by_user_and_moves_nothing_else(toys: Path) -> None:
    def keys(data: Dataset) -> list[list[int]]:
        return [split.keys.tolist() for split in (data.train, data.valid, data.test)]

    file, drawn = read(toys), [read(toys, split_seed=seed) for seed in range(8)]
    for data in drawn:
        assert sorted(sum(keys(data), [])) == sorted(sum(keys(file), []))
        assert [data.valid.users.tolist(), data.test.users.tolist()] == [[1, 2], [1, 2]]
        assert_array_equal(data.features["visual"], FLOATS)
    assert len({str(keys(data)) for data in drawn}) > 1
    assert len({data.content_digest for data in drawn}) > 1
    assert keys(read(toys, split_seed=3)) == keys(drawn[3])
    assert keys(read(toys, split_seed=None)) == keys(file)


def test_a_split_that_could_hold_nothing_out_is_refused(toys: Path) -> None:
    write(toys, HEADER, "0\t3\t0", "1\t1\t1", "1\t2\t2")
    with pytest.raises(ValueError, match=r"dataset\.split_seed=0: no user has 3 pairs"):
        read(toys, split_seed=0)


def with_extra_columns(folder: Path) -> None:
    rows = [line.split("\t") for line in ROWS]
    write(folder, "title\tx_label\titemID\ttime\tuserID", *[f'a "b" #c\t{x}\t{i}\t1.5e9\t{u}' for u, i, x in rows])


def in_latin_1(folder: Path) -> None:
    lines = [HEADER + "\ttitle", *[line + "\tCafé" for line in ROWS]]
    (folder / "toys.inter").write_bytes("\n".join(lines).encode("latin-1"))


DRESSES: dict[str, Callable[[Path], object]] = {
    "column order": lambda folder: write(
        folder, "x_label\tuserID\titemID", *["\t".join(line.split("\t")[i] for i in (2, 0, 1)) for line in ROWS]
    ),
    "extra columns": with_extra_columns,
    "extra column not utf-8": in_latin_1,
    "byte order mark": lambda folder: (folder / "toys.inter").write_bytes(
        b"\xef\xbb\xbf" + (folder / "toys.inter").read_bytes()
    ),
    "windows line ends": lambda folder: write(folder, HEADER, *ROWS, end="\r\n"),
    "no last line end": lambda folder: (folder / "toys.inter").write_bytes("\n".join([HEADER, *ROWS]).encode()),
    "row order": lambda folder: write(folder, HEADER, *reversed(ROWS)),
    "spaces around": lambda folder: write(folder, HEADER, *[line.replace("\t", " \t ") for line in ROWS]),
    "features float64": lambda folder: np.save(folder / "image_feat.npy", FLOATS.astype(np.float64)),
    "features big endian": lambda folder: np.save(folder / "image_feat.npy", FLOATS.astype(">f4")),
    "features column major": lambda folder: np.save(folder / "image_feat.npy", np.asfortranarray(FLOATS)),
}


@pytest.mark.parametrize("dress", DRESSES.values(), ids=DRESSES.keys())
def test_same_content_in_another_dress_has_the_same_digest(toys: Path, dress: Callable[[Path], object]) -> None:
    plain = read(toys).digest
    before = {path.name: path.read_bytes() for path in toys.iterdir()}
    dress(toys)
    assert {path.name: path.read_bytes() for path in toys.iterdir()} != before
    assert read(toys).digest == plain


@pytest.mark.parametrize("line", range(2, 10))
def test_moving_one_label_changes_the_digest(toys: Path, line: int) -> None:
    plain = read(toys).digest
    text = ROWS[line - 2]
    row(line, text[:-1] + str((int(text[-1]) + 1) % 3))(toys)
    assert read(toys).digest != plain


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", ">f8"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_features_become_float32_in_rows(toys: Path, dtype: str, order: Any) -> None:
    stored = np.random.default_rng(0).normal(size=(NUM_ITEMS, 3)).astype(dtype, order=order)
    np.save(toys / "image_feat.npy", stored)
    matrix = read(toys).features["visual"]
    assert type(matrix) is np.ndarray
    assert matrix.flags.c_contiguous
    assert_array_equal(matrix, stored.astype(np.float32), strict=True)


def test_largest_float32_in_every_column_is_finite(toys: Path) -> None:
    largest = np.full((NUM_ITEMS, 300), np.finfo(np.float32).max, dtype=np.float64)
    np.save(toys / "image_feat.npy", largest)
    assert_array_equal(read(toys).features["visual"], largest.astype(np.float32))


def test_features_do_not_follow_the_file_and_the_file_does_not_follow_them(toys: Path) -> None:
    stored = (toys / "image_feat.npy").read_bytes()
    matrix = read(toys).features["visual"]
    matrix[0, 0] = 7
    assert (toys / "image_feat.npy").read_bytes() == stored
    with (toys / "image_feat.npy").open("r+b") as handle:
        handle.seek(-4, os.SEEK_END)
        handle.write(b"\0\0\0\0")
    assert matrix[-1, -1] == FLOATS[-1, -1]


def test_reading_leaves_the_folder_and_the_configuration_as_they_were(toys: Path) -> None:
    before = {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in toys.iterdir()}
    modalities = {"visual": "image_feat.npy"}
    read(toys, modalities=modalities)
    assert {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in toys.iterdir()} == before
    assert modalities == {"visual": "image_feat.npy"}


def test_modalities_keep_their_names_and_matrices(toys: Path) -> None:
    np.save(toys / "text_feat.npy", FLOATS * 2)
    data = read(toys, modalities={"textual": "text_feat.npy", "visual": "image_feat.npy"})
    assert list(data.features) == ["textual", "visual"]
    assert_array_equal(data.features["textual"], FLOATS * 2)
    assert_array_equal(data.features["visual"], FLOATS)


def test_without_modalities_items_are_counted_from_ids(toys: Path) -> None:
    (toys / "image_feat.npy").unlink()
    row(9, "1\t17\t2")(toys)
    data = read(toys, modalities={})
    assert (data.num_users, data.num_items, dict(data.features)) == (NUM_USERS, 18, {})


def test_ids_with_gaps_below_the_limit_are_read(toys: Path) -> None:
    row(9, "1079\t1079\t2")(toys)
    data = read(toys, modalities={})
    assert (data.num_users, data.num_items) == (1080, 1080)


def test_user_and_item_only_in_test_count(toys: Path) -> None:
    np.save(toys / "image_feat.npy", np.vstack([FLOATS, FLOATS[:1]]))
    row(9, "3\t4\t2")(toys)
    data = read(toys)
    assert (data.num_users, data.num_items, data.train.item_degree[4]) == (4, 5, 0)


def test_linked_folder_and_link_inside_it_are_read(toys: Path) -> None:
    plain = read(toys).digest
    (toys / "image_feat.npy").rename(toys / "real.npy")
    (toys / "image_feat.npy").symlink_to("real.npy")
    toys.rename(toys.with_name("store"))
    toys.symlink_to(toys.with_name("store"), target_is_directory=True)
    assert read(toys).digest == plain


def test_home_folder_is_expanded(toys: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(toys.parent))
    assert read(toys, root="~").num_users == NUM_USERS


def test_omegaconf_mapping_is_accepted(toys: Path) -> None:
    data = read(toys, modalities=OmegaConf.create({"visual": "image_feat.npy"}))
    assert data.digest == read(toys).digest


def test_categories_are_numbered_without_gaps_and_determine_the_data(toys: Path) -> None:
    np.save(toys / "kind.npy", np.array([7, -1, 7, 300]))
    data = read(toys, categories="kind.npy")
    assert_array_equal(data.categories, [1, 0, 1, 2])
    assert_array_equal(data.as_train_data().categories, data.categories)
    assert read(toys).categories is None
    assert data.digest != read(toys).digest
    np.save(toys / "kind.npy", np.array([7, -1, 300, 7]))
    assert read(toys, categories="kind.npy").digest != data.digest


@pytest.mark.parametrize(
    ("stored", "found"),
    [
        (np.arange(3), r"found int64 of shape \(3,\), expected whole numbers of shape \(4,\)"),
        (np.ones(4), "found float64 of shape"),
        (np.ones((4, 1), dtype=int), r"of shape \(4, 1\)"),
        (np.array([1, 2, 3, None]), "expected a .npy file of whole numbers"),
    ],
    ids=["too few", "floats", "matrix", "objects"],
)
def test_categories_that_are_not_one_number_for_each_item_are_refused(toys: Path, stored: Any, found: str) -> None:
    np.save(toys / "kind.npy", stored, allow_pickle=True)
    with pytest.raises(ValueError, match=f"kind.npy .dataset.categories.: .*{found}"):
        read(toys, categories="kind.npy")


# Options of conf/dataset that read a folder.

OPTIONS = {
    "baby": ("baby", {"visual": "image_feat.npy", "textual": "text_feat.npy"}),
    "sports": ("sports", {"visual": "image_feat.npy", "textual": "text_feat.npy"}),
    "electronics": ("electronics", {"visual": "image_feat.npy", "textual": "text_feat.npy"}),
    "baby_id": ("baby", {}),
    "sports_attr": ("sports", {"textual": "text_feat.npy", "attribute": "attr_feat.npy"}),
    "tiktok": ("tiktok", {"visual": "visual_feat.npy", "acoustic": "acoustic_feat.npy"}),
    "folder": ("toys", None),
}


def option(stem: str) -> Any:
    return OmegaConf.load(PROJECT / "conf" / "dataset" / f"{stem}.yaml")


def build(stem: str) -> FolderDataset:
    node = OmegaConf.to_container(option(stem), resolve=True)
    assert isinstance(node, dict)
    assert node.pop("_target_") == "trustmm.dataset.folder.FolderDataset"
    node.pop("defaults", None)
    return FolderDataset(**({str(key): value for key, value in node.items()} | {"name": OPTIONS[stem][0]}))


@pytest.mark.parametrize("stem", OPTIONS)
def test_option_lists_name_and_files(stem: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRUSTMM_DATA", "/data")
    stage = build(stem)
    assert (stage.name, stage.root, stage.modalities) == (OPTIONS[stem][0], "/data", OPTIONS[stem][1])
    assert (option(stem)["name"] is None) == (stem == "folder")
    assert (PROJECT / "conf" / "dataset" / f"{stem}.yaml").read_text().startswith("# ")


def test_option_without_root_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRUSTMM_DATA", raising=False)
    with pytest.raises(ValueError, match=r"^dataset\.root is not set: .*sports/sports\.inter.*TRUSTMM_DATA$"):
        build("sports")


# Real data, against the table of its README.

REAL = {
    "baby_id": ((19_445, 7_050), (118_551, 20_559, 21_682), {}),
    "sports_attr": ((35_598, 18_357), (218_409, 37_899, 40_029), {"textual": 384, "attribute": 128}),
    "tiktok": ((9_308, 6_710), (59_541, 3_051, 6_130), {"visual": 128, "acoustic": 128}),
}


@pytest.mark.realdata
@pytest.mark.parametrize("stem", REAL)
def test_real_data_have_their_published_sizes(stem: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if not (REAL_ROOT / OPTIONS[stem][0]).is_dir():
        pytest.skip(f"{REAL_ROOT / OPTIONS[stem][0]} is not there; set TRUSTMM_DATA")
    monkeypatch.setenv("TRUSTMM_DATA", str(REAL_ROOT))
    data = build(stem)()
    shape, sizes, widths = REAL[stem]
    assert (data.num_users, data.num_items) == shape
    assert (len(data.train), len(data.valid), len(data.test)) == sizes
    assert {name: matrix.shape for name, matrix in data.features.items()} == {
        n: (shape[1], w) for n, w in widths.items()
    }
    assert len(data.observed) == sum(sizes)
    assert build(stem)().digest == data.digest


# Features with a time axis.

CLIPS = np.arange(NUM_ITEMS * 3 * 2, dtype=np.float32).reshape(NUM_ITEMS, 3, 2)


def test_frames_are_read_as_far_as_an_item_has_them_and_their_mean_is_the_feature(toys: Path) -> None:
    stored = CLIPS.copy()
    stored[1, 1:] = np.nan  # beyond its length
    np.save(toys / "clip_feat.npy", stored)
    np.save(toys / "lengths.npy", np.array([3, 1, 0, 2]))
    data = read(toys, modalities={"visual": "clip_feat.npy"}, lengths={"visual": "lengths.npy"})
    frames = data.frames["visual"]
    assert_array_equal(frames.offsets, [0, 3, 4, 4, 6])
    assert_array_equal(frames.rows_NX, np.concatenate([CLIPS[0], CLIPS[1, :1], CLIPS[3, :2]]))
    assert_array_equal(data.features["visual"], [CLIPS[0].mean(0), CLIPS[1, 0], [0, 0], CLIPS[3, :2].mean(0)])
    assert data.as_train_data().frames is data.frames
    np.save(toys / "lengths.npy", np.array([3, 1, 0, 1]))
    again = read(toys, modalities={"visual": "clip_feat.npy"}, lengths={"visual": "lengths.npy"})
    assert again.content_digest != data.content_digest


def test_without_lengths_every_item_has_all_frames(toys: Path) -> None:
    np.save(toys / "image_feat.npy", CLIPS)
    assert_array_equal(read(toys).frames["visual"].lengths, [3] * NUM_ITEMS)


@pytest.mark.parametrize(
    ("lengths", "message"),
    [
        (np.array([3, 1, 4, 2]), r"lengths\.npy \(dataset\.lengths\.visual\): row 2 is 4, expected 0 to 3 frames"),
        (np.array([3, 1, -1, 2]), r"row 2 is -1, expected 0 to 3"),
        (np.array([3, 1]), r"found int64 of shape \(2,\), expected whole numbers of shape \(4,\)"),
        (np.array([3.0, 1, 2, 2]), r"found float64 of shape \(4,\), expected whole numbers"),
    ],
)
def test_lengths_that_cannot_be_are_named(toys: Path, lengths: np.ndarray, message: str) -> None:
    np.save(toys / "image_feat.npy", CLIPS)
    np.save(toys / "lengths.npy", lengths)
    with pytest.raises(ValueError, match=message):
        read(toys, lengths={"visual": "lengths.npy"})


def test_lengths_of_features_without_a_time_axis_are_refused(toys: Path) -> None:
    np.save(toys / "lengths.npy", np.ones(NUM_ITEMS, dtype=int))
    with pytest.raises(ValueError, match=r"dataset\.lengths\.visual\): found shape \(4, 2\), expected a time axis"):
        read(toys, lengths={"visual": "lengths.npy"})
    with pytest.raises(ValueError, match=r"dataset\.lengths\.textual: dataset\.modalities has no such modality"):
        read(toys, lengths={"textual": "lengths.npy"})
