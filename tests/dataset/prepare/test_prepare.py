"""From raw files to a folder: every format, what is counted, what is refused at once, what survives an interruption."""

import gzip
import hashlib
import json
import re
import struct
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray

from tests.odd import typed
from trustmm.cli.prepare import main
from trustmm.dataset.data import Dataset
from trustmm.dataset.folder import FolderDataset
from trustmm.dataset.layout import read_names
from trustmm.dataset.prepare.feature_files import FeatureFile
from trustmm.dataset.prepare.images import ImageFile
from trustmm.dataset.prepare.options import Preparation
from trustmm.dataset.prepare.pipeline import prepare

Write = Callable[..., Path]
Pairs = list[tuple[str, str, int]]
USERS, ITEMS = 12, 8
"""Sizes of the fixture `pairs`."""
WIDTH = 4


class WordEncoder:
    """An encoder without a library: numbers drawn from the hash of a text. Counts its calls; can be told to fail."""

    whole = False

    def __init__(self, fail_at: int | None = None) -> None:
        self.calls: list[list[str]] = []
        self.fail_at = fail_at

    def identity(self) -> Mapping[str, Any]:
        return {"library": "words", "version": "1"}

    def encode(self, batch: Sequence[str]) -> NDArray[np.float32]:
        if len(self.calls) == self.fail_at:
            raise KeyboardInterrupt
        self.calls.append(list(batch))
        rows = [np.frombuffer(hashlib.sha256(text.encode()).digest()[: 4 * WIDTH], dtype="<u4") for text in batch]
        return (np.stack(rows) / 2**32).astype(np.float32)


def review_2014(user: str, item: str, time: int) -> str:
    return json.dumps({"reviewerID": user, "asin": item, "overall": 5.0, "unixReviewTime": time, "reviewText": "ok"})


def review_2023(user: str, item: str, time: int) -> str:
    return json.dumps({"rating": 4, "asin": "x" + item, "parent_asin": item, "user_id": user, "timestamp": time * 1000})


def as_csv(user: str, item: str, time: int) -> str:
    return f"{user},{item},5.0,{time}"


def read(folder: Path) -> Dataset:
    return FolderDataset(name=None, root=str(folder), modalities=None)()


def cases(made: dict[str, Any], source: str) -> dict[str, Any]:
    """Reason to count and first places, of one source."""
    found = [one["cases"] for one in made["not_used"] if one["source"] == source]
    return {reason: (case["count"], case["first"]) for reason, case in found[0].items()} if found else {}


def make(out: Path, *files: Path, encoder: WordEncoder | None = None, **options: Any) -> dict[str, Any]:
    return prepare(Preparation(out=out, interactions=files, **{"tolerance": 1.0} | options), text_encoder=encoder)


# Formats of interactions: all give the same folder.


def parquet(write: Write, pairs: Pairs) -> Path:
    path = write("clicks.parquet", [])
    users, items, times = zip(*pairs, strict=True)
    table = {"user": users, "item": items, "time": pa.array(times, pa.timestamp("s")), "text": ["x"] * len(users)}
    pyarrow.parquet.write_table(pa.table(table), path)
    return path


FORMATS: dict[str, tuple[Callable[[Write, Pairs], Path], dict[str, Any]]] = {
    "2014 reviews": (lambda write, pairs: write("r.json.gz", (review_2014(*pair) for pair in pairs)), {}),
    "2014 plain": (lambda write, pairs: write("r.json", (review_2014(*pair) for pair in pairs)), {}),
    "2023 reviews": (lambda write, pairs: write("r.jsonl.gz", (review_2023(*pair) for pair in pairs)), {}),
    "ratings": (
        lambda write, pairs: write("ratings.csv", (as_csv(*pair) for pair in pairs)),
        {"header": ("user", "item", "rating", "time")},
    ),
    "2023 ratings": (
        lambda write, pairs: write("r.csv.gz", ["user_id,parent_asin,rating,timestamp", *(as_csv(*p) for p in pairs)]),
        {},
    ),
    "table": (
        lambda write, pairs: write(
            "t.tsv", ["when\twho\twhat", *(f"{time}\t{user}\t{item}" for user, item, time in pairs)]
        ),
        {"user": "who", "item": "what", "time": "when"},
    ),
    "parquet": (parquet, {}),
}


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("split", ["random", "time"])
def test_every_format_gives_the_same_data(kind: str, split: Any, write: Write, pairs: Pairs, tmp_path: Path) -> None:
    make_file, options = FORMATS[kind]
    made = make(tmp_path / "toys", make_file(write, pairs), split=split, **options)
    reference = make(
        tmp_path / "plain", write("plain.json", (review_2014(*pair) for pair in sorted(pairs))), split=split
    )
    assert made["digest"] == reference["digest"] == read(tmp_path / "toys").digest
    assert made["not_used"] == []
    assert made["steps"][-1] == {
        "step": "5-core",
        "interactions": USERS * ITEMS,
        "users": USERS,
        "items": ITEMS,
        "rounds": 0,
    }


def test_folder_holds_the_pairs_and_both_maps(write: Write, pairs: Pairs, tmp_path: Path) -> None:
    make(tmp_path / "toys", write("r.json", (review_2014(*pair) for pair in pairs)))
    users, items = (
        read_names(tmp_path / "toys" / f"{kind}.tsv", count) for kind, count in (("users", USERS), ("items", ITEMS))
    )
    every = read(tmp_path / "toys").observed
    assert {(users[u], items[i]) for u, i in zip(every.users, every.items, strict=True)} == {pair[:2] for pair in pairs}
    header, first = (tmp_path / "toys" / "toys.inter").read_text().splitlines()[:2]
    assert header == "userID\titemID\ttimestamp\tx_label"
    assert first.startswith("0\t0\t1400000000\t")


def test_twice_the_same_is_the_same_to_the_last_byte(write: Write, pairs: Pairs, tmp_path: Path) -> None:
    lines = [review_2014(*pair) for pair in pairs]
    for folder, order in (("a", lines), ("b", lines[::-1])):
        make(tmp_path / folder / "toys", write("r.json", order))
    files = {path.name for path in (tmp_path / "a" / "toys").iterdir()}
    assert files == {"toys.inter", "users.tsv", "items.tsv", "dataset.json"}
    for name in files - {"dataset.json"}:
        assert (tmp_path / "a" / "toys" / name).read_bytes() == (tmp_path / "b" / "toys" / name).read_bytes()


def test_seed_changes_the_split_and_nothing_else(write: Write, pairs: Pairs, tmp_path: Path) -> None:
    path = write("r.json", (review_2014(*pair) for pair in pairs))
    for seed in (0, 1):
        make(tmp_path / f"s{seed}", path, seed=seed)
    one, other = read(tmp_path / "s0"), read(tmp_path / "s1")
    assert one.observed.same_as(other.observed)
    assert not one.test.same_as(other.test)


# What is not used is counted and reported.


def test_broken_lines_duplicates_and_sparse_users_are_counted(write: Write, pairs: Pairs, tmp_path: Path) -> None:
    lines = [review_2014(*pair) for pair in pairs]
    lines[3:3] = ["{broken", json.dumps({"asin": "B"}), review_2014("a\tb", "B", 1), review_2014("u", "", 1)]
    lines += [lines[0], lines[1], review_2014("loner", "B000000000", 10**9), "", review_2014("U00", "rare", 10**9)]
    made = make(tmp_path / "toys", write("r.json.gz", lines))
    assert cases(made, "r.json.gz") == {
        "neither JSON nor a Python literal": (1, [4]),
        "no usable user": (2, [5, 6]),
        "no usable item": (1, [7]),
        "an empty line": (1, [len(lines) - 1]),
    }
    counts = [(step["interactions"], step["users"], step["items"]) for step in made["steps"]]
    assert counts == [(100, 13, 9), (98, 13, 9), (96, 12, 8)]
    assert made["digest"] == make(tmp_path / "clean", write("c.json", (review_2014(*pair) for pair in pairs)))["digest"]


def test_pair_without_a_time_is_kept_unless_the_split_needs_it(write: Write, pairs: Pairs, tmp_path: Path) -> None:
    path = write(
        "r.json", [review_2014(*pair) for pair in pairs[:-1]] + [review_2014(pairs[-1][0], pairs[-1][1], None)]
    )  # type: ignore[arg-type]
    kept = make(tmp_path / "random", path)
    assert cases(kept, "r.json") == {"no usable time (kept)": (1, [96])}
    dropped = make(tmp_path / "time", path, split="time", core=1)
    assert cases(dropped, "r.json") == {"no usable time": (1, [96])}
    assert (kept["steps"][-1]["interactions"], dropped["steps"][-1]["interactions"]) == (96, 95)


def test_time_split_is_in_the_order_of_time(write: Write, pairs: Pairs, tmp_path: Path) -> None:
    made = make(
        tmp_path / "toys", write("r.csv", ["user,item,time", *(f"{u},{i},{t}" for u, i, t in pairs)]), split="time"
    )
    table = np.loadtxt(tmp_path / "toys" / "toys.inter", skiprows=1, delimiter="\t")
    parts = [table[table[:, 3] == label, 2] for label in range(3)]
    assert parts[0].max() == made["split"]["last_train"] < parts[1].min()
    assert parts[1].max() == made["split"]["last_valid"] < parts[2].min()
    assert [made["split"][name] for name in ("train", "valid", "test")] == [len(part) for part in parts]


# Texts.


def metadata(items: int = ITEMS) -> list[str]:
    rows = [
        {"asin": f"B{item:09d}", "title": f"thing {item}", "brand": "acme", "categories": [["toys", "more toys"]]}
        for item in range(items)
    ]
    return [repr(row) if place % 2 else json.dumps(row) for place, row in enumerate(rows)]


def test_texts_are_joined_encoded_and_empty_ones_filled(write: Write, pairs: Pairs, tmp_path: Path) -> None:
    lines = metadata(ITEMS - 1)
    lines[2] = json.dumps({"asin": "B000000002", "title": "", "description": [" "]})
    lines += [
        lines[0],
        json.dumps({"asin": "unknown", "title": "x"}),
        "{'asin': broken",
        json.dumps({"title": "nobody"}),
    ]
    encoder = WordEncoder()
    reviews = write("r.json", (review_2014(*pair) for pair in pairs))
    made = make(tmp_path / "toys", reviews, metadata=write("meta.json.gz", lines), encoder=encoder, batch_size=4)
    assert cases(made, "meta.json.gz") == {
        "item with an empty text": (1, ["B000000002"]),
        "item without metadata": (1, ["B000000007"]),
        "second metadata record of an item": (1, ["B000000000"]),
        "item not in the data set": (1, ["unknown"]),
        "neither JSON nor a Python literal": (1, [10]),
        "no usable item": (1, [11]),
    }
    assert encoder.calls[0][0] == "acme thing 0 toys more toys"
    assert [len(call) for call in encoder.calls] == [4, 2]
    matrix = read(tmp_path / "toys").features["textual"]
    known = [0, 1, 3, 4, 5, 6]
    assert_array_equal(matrix[known], WordEncoder().encode([text for call in encoder.calls for text in call]))
    assert_allclose(matrix[[2, 7]], np.tile(matrix[known].mean(axis=0), (2, 1)), rtol=1e-6)
    facts = made["features"]["textual"]
    assert (facts["shape"], facts["items_with"], facts["items_filled"]) == ([ITEMS, WIDTH], 6, 2)
    assert facts["encoder"] == {"library": "words", "version": "1"}


def test_missing_zeros_leaves_zeros(write: Write, pairs: Pairs, tmp_path: Path) -> None:
    reviews = write("r.json", (review_2014(*pair) for pair in pairs))
    make(tmp_path / "toys", reviews, metadata=write("m.json", metadata(5)), encoder=WordEncoder(), missing="zeros")
    assert_array_equal(read(tmp_path / "toys").features["textual"][5:], 0)


def test_metadata_of_2023_and_tables_give_the_same_texts(write: Write, pairs: Pairs, tmp_path: Path) -> None:
    modern = [
        json.dumps(
            {
                "parent_asin": f"B{item:09d}",
                "store": "acme",
                "title": f"thing {item}",
                "categories": ["toys"],
                "description": [],
            }
        )
        for item in range(ITEMS)
    ]
    table = ["item,brand,title,category", *(f"B{item:09d},acme,thing {item},toys" for item in range(ITEMS))]
    reviews = write("r.json", (review_2014(*pair) for pair in pairs))
    for name, path in (("modern", write("m.jsonl", modern)), ("table", write("m.csv", table))):
        make(tmp_path / name, reviews, metadata=path, encoder=WordEncoder())
    assert read(tmp_path / "modern").digest == read(tmp_path / "table").digest


# Visual features.


def record(item: str, values: np.ndarray) -> bytes:
    return struct.pack("10s", item.encode()) + values.astype("<f4").tobytes()


@pytest.mark.parametrize("name", ["image_features.b", "image_features.b.gz"])
def test_binary_image_features(name: str, write: Write, pairs: Pairs, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = {f"B{item:09d}": rng.random(4096).astype(np.float32) for item in range(ITEMS - 1)}
    spoiled = np.full(4096, np.nan)
    content = [record("unknown001", rng.random(4096)), *(record(*pair) for pair in rows.items())]
    content += [record("B000000000", spoiled), record("B000000007", spoiled)]
    path = write(name, [])
    path.write_bytes(gzip.compress(b"".join(content)) if name.endswith("gz") else b"".join(content))
    made = make(tmp_path / "toys", write("r.json", (review_2014(*pair) for pair in pairs)), image_features=path)
    assert cases(made, name) == {
        "item not in the data set": (1, ["unknown001"]),
        "second row of an item": (1, ["B000000000"]),
        "row that is not finite": (1, ["B000000007"]),
    }
    matrix = read(tmp_path / "toys").features["visual"]
    assert_array_equal(matrix[:7], np.stack(list(rows.values())))
    assert_allclose(matrix[7], matrix[:7].mean(axis=0), rtol=1e-5)


class SizeEncoder:
    """The size of an image's file, or NaN for one that begins with "bad"."""

    whole = False

    def identity(self) -> dict[str, Any]:
        return {"library": "sizes"}

    def encode(self, batch: Any) -> Any:
        contents = [image.path.read_bytes() for image in batch]
        sizes = [np.nan if content.startswith(b"bad") else len(content) for content in contents]
        return np.array(sizes, dtype=np.float32)[:, None]


def test_folder_of_images(write: Write, pairs: Pairs, tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for item in range(5):
        (folder / f"B{item:09d}.jpg").write_bytes(b"x" * (item + 1))
    (folder / "B000000004.png").write_bytes(b"second")
    (folder / "B000000005.png").write_bytes(b"bad")
    (folder / "stranger.jpg").write_bytes(b"x")
    (folder / "notes.txt").write_bytes(b"x")
    options = Preparation(
        out=tmp_path / "toys",
        interactions=(write("r.json", (review_2014(*p) for p in pairs)),),
        images=folder,
        missing="zeros",
        tolerance=1,
    )
    made = prepare(options, image_encoder=SizeEncoder())
    assert cases(made, "pictures") == {
        "second image of an item": (1, ["B000000004.png"]),
        "item not in the data set": (1, ["stranger.jpg"]),
        "file that is not an image": (1, ["notes.txt"]),
        "item without an image": (2, ["B000000006", "B000000007"]),
        "image that cannot be read": (1, ["B000000005.png"]),
    }
    assert_array_equal(read(tmp_path / "toys").features["visual"][:, 0], [1, 2, 3, 4, 5, 0, 0, 0])
    assert made["features"]["visual"]["images"]["files"] == 6


def test_item_names_that_climb_reach_no_other_file(write: Write, tmp_path: Path) -> None:
    (tmp_path / "secret.jpg").write_bytes(b"secret")
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "i1.jpg").write_bytes(b"x")
    rows = [f"u{user},{item}" for user in range(6) for item in ("../secret", "i1", "/etc/passwd", "i3", "i4")]
    options = Preparation(
        out=tmp_path / "toys",
        interactions=(write("r.csv", ["user,item", *rows]),),
        images=tmp_path / "pictures",
        tolerance=1,
    )
    made = prepare(options, image_encoder=SizeEncoder())
    assert made["features"]["visual"]["items_with"] == 1


def test_ready_made_features_keyed_by_item(write: Write, pairs: Pairs, tmp_path: Path) -> None:
    rows = np.random.default_rng(1).random((ITEMS + 1, 3), dtype=np.float32)
    names = [f"B{item:09d}" for item in reversed(range(ITEMS))] + ["stranger"]
    np.save(tmp_path / "clip.npy", rows)
    lists = pa.table({"asin": names, "vector": [row.tolist() for row in rows]})
    wide = pa.table({"asin": names, **{f"x{column}": rows[:, column] for column in range(3)}})
    for table, name in ((lists, "lists.parquet"), (wide, "wide.parquet")):
        pyarrow.parquet.write_table(table, tmp_path / name)
    features = {
        "visual": FeatureFile(tmp_path / "clip.npy", write("ids.txt", names)),
        "lists": FeatureFile(tmp_path / "lists.parquet"),
        "wide": FeatureFile(tmp_path / "wide.parquet", item_column="asin"),
    }
    made = make(tmp_path / "toys", write("r.json", (review_2014(*p) for p in pairs)), features=features)
    data = read(tmp_path / "toys")
    for name in features:
        assert_array_equal(data.features[name], rows[:ITEMS][::-1])
    assert cases(made, "clip.npy") == {"item not in the data set": (1, ["stranger"])}


def test_npy_without_a_list_is_keyed_by_row(write: Write, tmp_path: Path) -> None:
    np.save(tmp_path / "f.npy", np.arange(12.0).reshape(6, 2))
    rows = [f"{user},{item}" for user in range(6) for item in range(1, 6)]
    make(tmp_path / "toys", write("r.csv", ["user,item", *rows]), features={"visual": FeatureFile(tmp_path / "f.npy")})
    assert_array_equal(read(tmp_path / "toys").features["visual"][0], [2, 3])  # item "1" is number 0


# Interruption.


def test_interrupted_preparation_leaves_no_folder_and_goes_on(write: Write, pairs: Pairs, tmp_path: Path) -> None:
    root = tmp_path / "root"
    files = {"metadata": write("m.json", metadata()), "batch_size": 2}
    reviews = write("r.json", (review_2014(*pair) for pair in pairs))
    broken = WordEncoder(fail_at=2)
    with pytest.raises(KeyboardInterrupt):
        make(root / "toys", reviews, encoder=broken, **files)
    assert [path.name for path in root.iterdir()] == [".toys.preparing"]
    second = WordEncoder()
    make(root / "toys", reviews, encoder=second, **files)
    assert (len(broken.calls), len(second.calls)) == (2, 2)
    assert [path.name for path in root.iterdir()] == ["toys"]
    whole = make(root / "whole", reviews, encoder=WordEncoder(), **files)
    assert read(root / "toys").digest == whole["digest"]


def test_kept_cache_serves_another_split(write: Write, pairs: Pairs, tmp_path: Path) -> None:
    files = {"metadata": write("m.json", metadata()), "cache": tmp_path / "kept"}
    reviews = write("r.json", (review_2014(*pair) for pair in pairs))
    make(tmp_path / "s0", reviews, encoder=WordEncoder(), **files)
    second = WordEncoder()
    make(tmp_path / "s1", reviews, encoder=second, seed=1, **files)
    assert second.calls == []


# Mistakes: said at once.


def binary(path: Path) -> Path:
    path.write_bytes(b"x" * (10 + 4 * 4096 + 7))
    return path


MISTAKES: dict[str, tuple[Callable[[Path], dict[str, Any]], str]] = {
    "no such file": (
        lambda d: {"interactions": (d / "no.json",)},
        r"no\.json \(--interactions\) is missing or not a file",
    ),
    "folder exists": (lambda d: {"out": d / "r.json"}, r"--out=.* already exists and is not overwritten"),
    "name climbs": (lambda d: {"out": d / ".."}, r"--out must end with a plain folder name"),
    "hidden name": (lambda d: {"out": d / ".git"}, r"--out must end with a plain folder name"),
    "missing column": (lambda d: {"user": "customer"}, r"no column 'customer' among reviewerID, asin, .*--user"),
    "missing time": (lambda d: {"time": "when"}, r"no column for time among .*; name it with --time"),
    "size of binary": (
        lambda d: {"image_features": binary(d / "f.b")},
        r"found 16401 bytes, 7 bytes more than 1 records; expected records of 10 \+ 4 x 4096 = 16394 bytes",
    ),
    "text model without texts": (lambda d: {"encoder": WordEncoder()}, "--text-model needs --metadata"),
    "texts without model": (lambda d: {"metadata": d / "r.json"}, "--metadata needs --text-model"),
    "modality twice": (
        lambda d: {"image_features": binary(d / "f.b"), "features": {"visual": FeatureFile(d / "r.json")}},
        "the modality visual is given 2 times",
    ),
    "modality name": (
        lambda d: {"features": {"../x": FeatureFile(d / "r.json")}},
        "a modality must be a name such as visual",
    ),
    "feature suffix": (lambda d: {"features": {"visual": FeatureFile(d / "r.json")}}, r"expected \.parquet or \.npy"),
    "core too high": (lambda d: {"core": 50}, r"no pairs are left of 96 read, 96 distinct pairs: the 50-core is empty"),
    "nothing usable": (
        lambda d: {"user": "overall"},
        "96 of 96 records cannot be used, .* column 'overall' holds float such as 5.0",
    ),
    "images no folder": (lambda d: {"images": d / "r.json"}, "is not a folder"),
}


@pytest.mark.parametrize(("change", "message"), MISTAKES.values(), ids=MISTAKES.keys())
def test_mistake_is_said_and_leaves_nothing(
    change: Callable[[Path], dict[str, Any]], message: str, write: Write, pairs: Pairs, tmp_path: Path
) -> None:
    reviews = write("r.json", (review_2014(*pair) for pair in pairs))
    options = {"out": tmp_path / "made" / "toys", "interactions": (reviews,)} | change(tmp_path)
    files = options.pop("interactions")
    with pytest.raises(ValueError, match=message):
        make(options.pop("out"), *files, **options)
    assert not (tmp_path / "made" / "toys").exists()


def test_features_of_other_items_are_refused(write: Write, pairs: Pairs, tmp_path: Path) -> None:
    np.save(tmp_path / "f.npy", np.ones((3, 2)))
    with pytest.raises(
        ValueError, match=r"no item of the data set has a row; the file has items such as '2', the data 'B000000000'"
    ):
        make(
            tmp_path / "toys",
            write("r.json", (review_2014(*p) for p in pairs)),
            features={"visual": FeatureFile(tmp_path / "f.npy")},
        )


# The command.


def test_command_prepares_and_sums_up(
    write: Write, pairs: Pairs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write("ratings.csv", [*(as_csv(*pair) for pair in pairs), "broken"])
    main(
        [
            "--out",
            str(tmp_path / "toys"),
            "--interactions",
            str(path),
            "--header",
            "user,item,rating,time",
            "--seed",
            "3",
        ]
    )
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "12 users, 8 items, 96 interactions; 72 / 12 / 12 in train / valid / test"
    assert lines[-1] == f"prepared {tmp_path / 'toys'}"
    assert json.loads((tmp_path / "toys" / "dataset.json").read_text())["options"]["seed"] == 3


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--core", "0"], r"--core must be in \[1, inf\), got 0"),
        (["--seed", "-1"], r"--seed must be in \[0, inf\), got -1"),
        (["--features", "visual"], "--features visual: expected NAME FILE"),
        (["--vision-weights", "w.pth"], "--vision-weights needs --vision-model"),
        (["--text-model", "no/such"], "--text-model needs --metadata"),
    ],
)
def test_command_says_mistakes_in_one_line(
    words: list[str], message: str, write: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write("r.json", [review_2014("u", "i", 1)])
    with pytest.raises(SystemExit) as done:
        main(["--out", str(tmp_path / "toys"), "--interactions", str(path), *words])
    assert done.value.code == 1
    said = capsys.readouterr().err.splitlines()[-1]
    assert re.search(f"^trustmm: .*{message}", said), said


def test_image_hash_is_of_the_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(b"same")
    assert ImageFile(tmp_path / "a").sha256 == ImageFile(tmp_path / "b").sha256


@pytest.mark.slow
def test_prepared_folder_trains_and_its_provenance_stays_with_the_result(write: Write, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = {(f"u{user}", f"i{item}") for user in range(40) for item in rng.choice(25, 8, replace=False)}
    meta = [json.dumps({"item": f"i{item}", "title": f"thing {item}"}) for item in range(25)]
    path = write("r.csv", ["user,item", *(",".join(pair) for pair in sorted(rows))])
    out = tmp_path / "toys"
    made = make(out, path, metadata=write("m.json", meta), encoder=WordEncoder(), core=3)
    short = ("training.epochs=2", "tracking=none", "output_dir=results")
    command = [
        sys.executable,
        "-m",
        "trustmm",
        "dataset=folder",
        typed("dataset.root", out),
        "backbone=freedom",
        *short,
    ]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=300)
    assert done.returncode == 0, done.stderr
    result = tmp_path / done.stdout.splitlines()[-1].split("result=")[1]
    assert json.loads(result.read_text())["dataset_digest"] == made["digest"]
    assert json.loads((result.parent / "dataset.json").read_text())["digest"] == made["digest"]
