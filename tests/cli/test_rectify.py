"""The rectifier as a product: a folder of rectified features that anybody can load."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal

from trustmm.cli.rectify import most_suspicious
from trustmm.dataset.folder import FolderDataset
from trustmm.dataset.synthetic import SyntheticDataset

TINY = ("dataset.num_users=60", "dataset.num_items=40", "dataset.num_interactions=400")
SHORT = ("rectifier.k=5", "prior.epochs=3", "rectifier.projection.epochs=2")
OPTIONS = {
    "num_users": 60,
    "num_items": 40,
    "num_interactions": 400,
    "frames": {},
    "taste_dim": 16,
    "num_groups": 50,
    "spread": 0.1,
    "sharpness": 4.0,
    "popularity": 0.6,
    "content": 0.5,
    "held_out": 0.1,
    "modalities": {"visual": 64, "textual": 32},
    "categories": False,
    "seed": 0,
}


def rectify(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "trustmm", "rectify", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=300)


def read(folder: Path):  # type: ignore[no-untyped-def]
    return FolderDataset(name=None, root=str(folder), modalities=None)()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A rectified copy of the embedded data, and a rectified copy of that copy, with maps of ids."""
    root = tmp_path_factory.mktemp("rectified")
    done = rectify(*TINY, *SHORT, f"out={root / 'first'}", cwd=root)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"rectified {root / 'first'}"
    (root / "first" / "items.tsv").write_text("itemID\titem\n" + "".join(f"{item}\tname{item}\n" for item in range(40)))
    source = ("dataset=folder", f"dataset.root={root / 'first'}", *SHORT, "rectifier.lam=1", "rectifier.rho=0.9")
    done = rectify(*source, f"out={root / 'second'}", cwd=root)
    assert done.returncode == 0, done.stderr
    return root


def test_folder_loads_with_the_same_interactions_and_other_features(made: Path) -> None:
    source, found = SyntheticDataset(**OPTIONS)(), read(made / "first")
    for split in ("train", "valid", "test"):
        assert_array_equal(getattr(found, split).keys, getattr(source, split).keys)
    assert set(found.features) == {"visual", "textual"}
    for name, matrix in found.features.items():
        assert matrix.shape == source.features[name].shape
        assert not np.array_equal(matrix, source.features[name])


def test_provenance_says_what_was_done_to_what(made: Path) -> None:
    facts = json.loads((made / "first" / "dataset.json").read_text())
    assert facts["sources"][0]["digest"] == SyntheticDataset(**OPTIONS)().digest
    assert facts["options"]["rectifier"]["lam"] == 0.5
    assert {"cpu", "blas", "threads", "host"} <= facts["environment"].keys()
    assert {"prior", "projection", "plan"} <= {one["kind"] for one in facts["inputs"]}
    assert all(one["environment"] == facts["environment"] for one in facts["inputs"])
    for one in facts["features"].values():
        assert 0 <= one["mismatched_share"] <= 1
        assert one["rho"] == pytest.approx(max(0.05, 1 - one["mismatched_share"]))


def test_lam_one_writes_the_features_it_read(made: Path) -> None:
    first, second = read(made / "first"), read(made / "second")
    for name, matrix in first.features.items():
        assert_array_equal(second.features[name], matrix)
    facts = json.loads((made / "second" / "dataset.json").read_text())
    assert facts["sources"][0]["provenance"]["name"] == "first"
    assert all(one["mismatched_share"] is None for one in facts["features"].values())


def test_suspects_are_listed_worst_first_under_their_own_names(made: Path) -> None:
    with (made / "second" / "suspects_visual.csv").open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    scores = [float(row["score"]) for row in rows]
    assert scores == sorted(scores)
    assert all(row["item"] == f"name{row['itemID']}" for row in rows)
    warm = set(np.flatnonzero(read(made / "first").train.item_degree > 0).tolist())
    assert {int(row["itemID"]) for row in rows} == warm


def test_most_suspicious_are_the_warm_items_of_lowest_alignment() -> None:
    alignment = np.arange(300) / 300.0
    warm = np.ones(300, dtype=bool)
    warm[0] = False
    assert_array_equal(most_suspicious(alignment, warm, 0.5), np.arange(1, 151))
    assert len(most_suspicious(alignment, warm, 0.0)) == 100


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((), "out must be given"),
        (("out=.",), "out must end with a plain folder name"),
        (("out=taken",), "out=taken already exists"),
        (("out=x", "rectifier=none"), "rectify needs a rectifier, such as rectifier=mr"),
        (("out=x", "rectifier.lam=2"), "rectifier.lam must be in [0, 1], got 2"),
        (("out=x", "rectifier.lamm=0.5"), "unknown key rectifier.lamm; did you mean rectifier.lam"),
    ],
)
def test_mistake_is_one_message_and_leaves_nothing(arguments: tuple[str, ...], expected: str, tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    done = rectify(*arguments, cwd=tmp_path)
    assert done.returncode == 1
    assert expected in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "x").exists()


def test_trust_writes_what_it_believes_of_every_item(tmp_path: Path) -> None:
    size = ("dataset.num_users=500", "dataset.num_items=300", "dataset.num_interactions=4000", "prior.epochs=15")
    options = ("rectifier=trust", "corruption.eta=0.3", "dataset.content=0.9", "prior.learning_rate=0.01")
    done = rectify(*size, *options, "out=mended", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    frame = pd.read_parquet(tmp_path / "mended" / "mismatch.parquet")
    assert len(frame) == 2 * 300
    assert frame["probability"].between(0, 1).all()
    assert {"view_anchor", "view_structure", "view_visual", "view_textual"} <= set(frame.columns)
    assert "visual" in (tmp_path / "mended" / "suspects.html").read_text()
    assert (tmp_path / "mended" / "reliability.png").is_file()
    assert (tmp_path / "mended" / "suspects_visual.csv").is_file()
    facts = json.loads((tmp_path / "mended" / "dataset.json").read_text())
    assert facts["features"]["visual"]["hopeless"] is False
    assert read(tmp_path / "mended").features["visual"].shape == (300, 64)
