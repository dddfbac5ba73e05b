"""Files of neighbouring toolkits: the same pairs and attributes whoever wrote them, and back again."""

import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from trustmm.cli.prepare import main
from trustmm.dataset.data import Dataset
from trustmm.dataset.folder import FolderDataset
from trustmm.dataset.layout import read_names
from trustmm.dataset.prepare.attributes import attribute_values
from trustmm.dataset.prepare.feature_files import FeatureFile
from trustmm.dataset.prepare.options import Preparation
from trustmm.dataset.prepare.pipeline import prepare

Write = Callable[..., Path]
Pairs = list[tuple[str, str, int]]
ITEMS = 8
ITEM_NAMES = [f"B{item:09d}" for item in range(ITEMS)]


def make(out: Path, *files: Path, **options: Any) -> dict[str, Any]:
    return prepare(Preparation(out=out, interactions=files, **options))


def read(folder: Path) -> Dataset:
    return FolderDataset(name=None, root=str(folder), modalities=None)()


def named_pairs(folder: Path) -> set[tuple[str, str]]:
    data = read(folder)
    users, items = read_names(folder / "users.tsv", data.num_users), read_names(folder / "items.tsv", data.num_items)
    return {(users[u], items[i]) for u, i in zip(data.observed.users, data.observed.items, strict=True)}


def with_separator(separator: str, columns: int = 4, first: tuple[str, ...] = ()) -> Callable[[Pairs], list[str]]:
    return lambda pairs: [
        *first,
        *(separator.join((user, item, "4.0", str(time))[:columns]) for user, item, time in pairs),
    ]


FORMATS: dict[str, tuple[str, Callable[[Pairs], list[str]], bool]] = {
    "RecBole": (
        "ml.inter",
        with_separator("\t", first=("user_id:token\titem_id:token\trating:float\ttimestamp:float",)),
        True,
    ),
    "RecBole without times": (
        "ml.inter",
        with_separator("\t", 3, ("user_id:token\titem_id:token\trating:float",)),
        False,
    ),
    "MovieLens u.data": ("u.data", with_separator("\t"), True),
    "MovieLens ratings.dat": ("ratings.dat", with_separator("::"), True),
    "MovieLens ratings.csv": ("ratings.csv", with_separator(",", first=("userId,movieId,rating,timestamp",)), True),
    "Cornac UIR": ("uir.txt", with_separator("\t", 3), False),
    "Cornac UIR with spaces": ("uir.txt", with_separator(" ", 3), False),
    "Cornac UIR with commas": ("uir.txt", with_separator(",", 3), False),
    "Cornac UIRT": ("data.uirt", with_separator("\t"), True),
    "pairs alone": ("pairs.txt", with_separator("\t", 2), False),
    "DataRec": ("datarec.tsv", with_separator("\t", first=("user_id\titem_id\trating\ttimestamp",)), True),
    "triples with a header": ("named.txt", with_separator("\t", first=("userId\tmovieId\trating\ttimestamp",)), True),
}


@pytest.mark.parametrize(("name", "lines", "timed"), FORMATS.values(), ids=FORMATS.keys())
@pytest.mark.parametrize("packed", ["", ".gz"])
def test_interactions_come_back_from_every_format(
    name: str, lines: Callable[[Pairs], list[str]], timed: bool, packed: str, write: Write, pairs: Pairs, tmp_path: Path
) -> None:
    split: Any = "time" if timed else "random"
    made = make(tmp_path / "toys", write(name + packed, lines(pairs)), split=split)
    plain = make(
        tmp_path / "plain", write("p.csv", ["user,item,time", *(f"{u},{i},{t}" for u, i, t in pairs)]), split=split
    )
    assert made["digest"] == plain["digest"]
    assert named_pairs(tmp_path / "toys") == {pair[:2] for pair in pairs}
    assert made["columns"][0]["unit"] == ("seconds" if timed else None)
    assert made["not_used"] == []


def test_prepared_folder_comes_back_through_the_formats(write: Write, pairs: Pairs, tmp_path: Path) -> None:
    first = make(tmp_path / "first", write("u.data", with_separator("\t")(pairs)))
    again = make(tmp_path / "again", tmp_path / "first" / "first.inter")
    assert named_pairs(tmp_path / "again") == {
        (str(u), str(i))
        for u, i in zip(read(tmp_path / "first").observed.users, read(tmp_path / "first").observed.items)  # noqa: B905
    }
    assert again["steps"][-1] == first["steps"][-1]


def test_line_that_tells_no_columns_is_refused(write: Write, tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"a\.txt, line 1: found 5 columns without a header, expected user, item and opt"
    ):
        make(tmp_path / "toys", write("a.txt", ["1\t2\t3\t4\t5"]))
    with pytest.raises(ValueError, match=r"a\.txt, line 1: found 1 columns without a header"):
        make(tmp_path / "toys", write("a.txt", ["word"]))


def test_triples_take_a_given_header(write: Write, pairs: Pairs, tmp_path: Path) -> None:
    path = write("a.txt", [f"{item} {user} x {time} y" for user, item, time in pairs])
    make(tmp_path / "toys", path, header=("item", "user", "a", "time", "b"), split="time")
    assert named_pairs(tmp_path / "toys") == {pair[:2] for pair in pairs}


# Attributes.

GENRES = {name: ["Comedy", "Drama"][: 1 + place % 2] for place, name in enumerate(ITEM_NAMES)}
GENRES[ITEM_NAMES[0]] = ["Horror"]
ATTRIBUTES = {
    "MovieLens movies.csv": (
        "movies.csv",
        ["movieId,title,genres", *(f'{name},"Thing, The",{"|".join(genres)}' for name, genres in GENRES.items())],
        "genres",
    ),
    "RecBole .item": (
        "ml.item",
        [
            "item_id:token\tmovie_title:token_seq\tclass:token_seq",
            *(f"{name}\tThe Thing\t{' '.join(genres)}" for name, genres in GENRES.items()),
        ],
        "class",
    ),
    "JSON lists": (
        "m.json",
        [f'{{"asin": "{name}", "categories": [{[*genres]}]}}'.replace("'", '"') for name, genres in GENRES.items()],
        "categories",
    ),
}


@pytest.mark.parametrize(("name", "lines", "column"), ATTRIBUTES.values(), ids=ATTRIBUTES.keys())
@pytest.mark.parametrize("given", [True, False])
def test_attributes_come_back_from_every_format(
    name: str, lines: list[str], column: str, given: bool, write: Write, pairs: Pairs, tmp_path: Path
) -> None:
    ratings, table = write("u.data", with_separator("\t")(pairs)), write(name, lines)
    words = ["--attributes", str(table), *([column] if given else [])]
    main(["--out", str(tmp_path / "toys"), "--interactions", str(ratings), *words])
    data = read(tmp_path / "toys")
    assert data.provenance is not None
    values = data.provenance["features"]["attribute"]["values"]
    assert values == [f"{column}=Comedy", f"{column}=Drama", f"{column}=Horror"]
    items = read_names(tmp_path / "toys" / "items.tsv", ITEMS)
    found = {
        item: [value.split("=")[1] for value, one in zip(values, row, strict=True) if one]
        for item, row in zip(items, data.features["attribute"], strict=True)
    }
    assert found == GENRES


def test_title_of_an_atomic_file_is_one_text(write: Write, pairs: Pairs, tmp_path: Path) -> None:
    ratings, table = write("u.data", with_separator("\t")(pairs)), write("ml.item", ATTRIBUTES["RecBole .item"][1])
    words = ["--metadata", str(table), "--text-model", "tfidf", "--text-fields", "movie_title,class"]
    main(["--out", str(tmp_path / "toys"), "--interactions", str(ratings), *words])
    assert list(read(tmp_path / "toys").features) == ["textual"]


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("a|b | c", {"a", "b", "c"}),
        ([["a"], ["b", "a"]], {"a", "b"}),
        ("(no genres listed)", set()),
        (None, set()),
        (7, {"7"}),
        (True, set()),
        ({"a": 1}, set()),
    ],
)
def test_attribute_values_of_anything(value: Any, found: set[str]) -> None:
    assert set(attribute_values(value)) == found


def test_column_of_attributes_that_is_missing_is_named(write: Write, pairs: Pairs, tmp_path: Path) -> None:
    ratings = write("u.data", with_separator("\t")(pairs))
    table = write("m.csv", ["item,colour", *(f"{name},red" for name in ITEM_NAMES)])
    with pytest.raises(ValueError, match=r"m\.csv: no column 'color' of attributes among item, colour"):
        make(tmp_path / "toys", ratings, attributes=table, attribute_columns=("color",))
    with pytest.raises(ValueError, match=r"m\.csv: no column genres or .* --attributes FILE COLUMN"):
        make(tmp_path / "toys", ratings, attributes=table)


# Ducho.


def ducho(folder: Path) -> Path:
    """As Ducho writes it: a file for each item, below library, model and layer."""
    layer = folder / "visual_embeddings" / "torch" / "ResNet50" / "avgpool"
    layer.mkdir(parents=True)
    for place, name in enumerate(ITEM_NAMES):
        np.save(layer / f"{name}.npy", np.array([[place, place + 0.5]], dtype=np.float32))
    return folder / "visual_embeddings"


def test_folder_of_ducho_comes_back(write: Write, pairs: Pairs, tmp_path: Path) -> None:
    ratings, folder = write("u.data", with_separator("\t")(pairs)), ducho(tmp_path / "outputs")
    for place, given in enumerate((folder, folder / "torch" / "ResNet50" / "avgpool")):
        made = make(tmp_path / f"toys{place}", ratings, features={"visual": FeatureFile(given)})
        rows = read(tmp_path / f"toys{place}").features["visual"]
        assert_array_equal(rows, [[item, item + 0.5] for item in range(ITEMS)])
        assert [source["file"] for source in made["sources"]] == ["u.data", *(f"{name}.npy" for name in ITEM_NAMES)]


def test_folders_of_two_models_are_refused_by_name(write: Write, pairs: Pairs, tmp_path: Path) -> None:
    ratings, folder = write("u.data", with_separator("\t")(pairs)), ducho(tmp_path / "outputs")
    (folder / "torch" / "VGG19").mkdir()
    np.save(folder / "torch" / "VGG19" / "B.npy", np.ones((1, 2)))
    with pytest.raises(ValueError, match=r"found folders with .npy files: .*avgpool, .*VGG19; expected one, name it"):
        make(tmp_path / "toys", ratings, features={"visual": FeatureFile(folder)})
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="found folders with .npy files: none; expected one"):
        make(tmp_path / "toys", ratings, features={"visual": FeatureFile(tmp_path / "empty")})


# All of them, as docs/data.md writes them.


def recipes(page: str) -> list[list[str]]:
    """Words of each command in the block of recipes."""
    block = page.partition("### Recipes for related toolkits")[2].split("```")[1].replace("\\\n", " ")
    return [shlex.split(line)[4:] for line in block.splitlines() if line.startswith("python -m trustmm prepare ")]


def test_recipes_of_the_page_run_as_written(
    write: Write, pairs: Pairs, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, kind in {"ml-1m.inter": "RecBole", "u.data": "MovieLens u.data", "uir.txt": "Cornac UIR"}.items():
        write(name, FORMATS[kind][1](pairs))
    for kind in ("MovieLens ratings.csv", "MovieLens ratings.dat", "DataRec"):
        write(FORMATS[kind][0], FORMATS[kind][1](pairs))
    write("movies.csv", ATTRIBUTES["MovieLens movies.csv"][1])
    write("movies.dat", [f"{name}::Café::{'|'.join(genres)}".encode("latin-1") for name, genres in GENRES.items()])
    write("ml-1m.item", [line.replace("class:", "genre:") for line in ATTRIBUTES["RecBole .item"][1]])
    np.save("features.npy", np.arange(2.0 * ITEMS).reshape(ITEMS, 2))
    write("items.txt", ITEM_NAMES)
    ducho(tmp_path)
    found = recipes((project / "docs" / "data.md").read_text(encoding="utf-8"))
    assert len(found) == 6
    for words in found:
        out = Path(words[words.index("--out") + 1])
        shutil.rmtree(out, ignore_errors=True)
        main(words)
        assert named_pairs(out) == {pair[:2] for pair in pairs}
        expected = {"attribute"} if "--attributes" in words else {"visual"} if "--features" in words else set()
        assert set(read(out).features) == expected
