"""``dataset.json``: the reader refuses a folder that is not what was written."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trustmm.dataset.folder import FolderDataset
from trustmm.dataset.new_folder import new_folder
from trustmm.dataset.provenance import write_provenance

INTER = "userID\titemID\tx_label\n0\t0\t0\n0\t1\t1\n1\t1\t0\n1\t0\t2\n"
FACTS: dict[str, Any] = {"name": "toys", "features": {"visual": {"file": "image_feat.npy"}}}


@pytest.fixture
def toys(tmp_path: Path) -> Path:
    with new_folder(tmp_path / "toys", "--out") as workshop:
        (workshop.folder / "toys.inter").write_text(INTER)
        np.save(workshop.folder / "image_feat.npy", np.eye(2, dtype=np.float32))
        write_provenance(workshop.folder, FACTS)
    return tmp_path / "toys"


def read(folder: Path, **options: Any) -> Any:
    return FolderDataset(**{"name": None, "root": str(folder), "modalities": None} | options)()


def test_prepared_folder_needs_no_options(toys: Path) -> None:
    data = read(toys)
    assert (data.name, list(data.features)) == ("toys", ["visual"])
    assert data.provenance["name"] == "toys"
    assert data.digest == read(toys.parent, name="toys").digest


def test_provenance_does_not_move_the_digest(toys: Path) -> None:
    before = read(toys).digest
    (toys / "dataset.json").unlink()
    after = read(toys.parent, name="toys", modalities={"visual": "image_feat.npy"})
    assert (after.digest, after.provenance) == (before, None)


def test_empty_modalities_leave_features_out(toys: Path) -> None:
    assert read(toys, modalities={}).features == {}


def test_without_provenance_no_modalities_are_read(toys: Path) -> None:
    (toys / "dataset.json").unlink()
    assert read(toys.parent, name="toys").features == {}


def test_folder_without_provenance_needs_a_name(toys: Path) -> None:
    (toys / "dataset.json").unlink()
    with pytest.raises(ValueError, match=r"dataset\.name must be given: .* only a folder that trustmm wrote"):
        read(toys)


def changed_feature(folder: Path) -> None:
    np.save(folder / "image_feat.npy", np.eye(2, dtype=np.float32) * 2)


def longer_inter(folder: Path) -> None:
    (folder / "toys.inter").write_text(INTER + "2\t0\t0\n")


def edited(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        found = json.loads((folder / "dataset.json").read_text())
        change(found)
        (folder / "dataset.json").write_text(json.dumps(found))

    return spoil


SPOILED: dict[str, tuple[Callable[[Path], Any], str]] = {
    "feature changed": (changed_feature, r"image_feat\.npy: found content that differs \(SHA-256\) from dataset\.json"),
    "interactions added": (longer_inter, r"toys\.inter: found \d+ bytes, dataset\.json says \d+"),
    "no JSON": (lambda folder: (folder / "dataset.json").write_text("{"), r"dataset\.json: found invalid JSON"),
    "deep JSON": (
        lambda folder: (folder / "dataset.json").write_text("[" * 100_000),
        r"dataset\.json: found invalid JSON",
    ),
    "huge": (lambda folder: (folder / "dataset.json").write_text(" " * (2**24 + 1)), "found more than 16777216 bytes"),
    "other format": (edited(lambda found: found.update(format="x")), "found no format 'trustmm dataset 1'"),
    "name climbs": (edited(lambda found: found.update(name="../toys")), r"found the name '\.\./toys'"),
    "file climbs": (
        edited(lambda found: found["features"]["visual"].update(file="../../x.npy")),
        r"found the feature 'visual' in '\.\./\.\./x\.npy'",
    ),
    "file not recorded": (edited(lambda found: found["files"].clear()), "found the feature 'visual'"),
    "features a list": (edited(lambda found: found.update(features=[])), "found no features or files"),
    "file without hash": (edited(lambda found: found["files"]["toys.inter"].clear()), "found a file without bytes"),
    "feature missing": (lambda folder: (folder / "image_feat.npy").unlink(), r"image_feat\.npy .* is missing"),
}


@pytest.mark.parametrize(("spoil", "message"), SPOILED.values(), ids=SPOILED.keys())
def test_spoiled_folder_is_refused(spoil: Callable[[Path], Any], message: str, toys: Path) -> None:
    spoil(toys)
    with pytest.raises(ValueError, match=message):
        read(toys)


def test_folder_that_fails_on_the_way_does_not_appear(tmp_path: Path) -> None:
    def fail() -> None:
        with new_folder(tmp_path / "toys", "--out") as workshop:
            (workshop.folder / "half").write_text("x")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert not (tmp_path / "toys").exists()
    with new_folder(tmp_path / "toys", "--out") as workshop:
        assert list(workshop.folder.iterdir()) == []
    assert [path.name for path in tmp_path.iterdir()] == ["toys"]


def test_two_preparations_of_one_folder_do_not_mix(tmp_path: Path) -> None:
    with (
        new_folder(tmp_path / "toys", "--out"),
        pytest.raises(ValueError, match="is being prepared by another process"),
    ):  # noqa: SIM117
        with new_folder(tmp_path / "toys", "--out"):
            pass
