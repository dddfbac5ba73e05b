"""`describe`: the paper's Table 1 on real data, feature health on matrices whose faults are known."""

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose

from trustmm.cli.describe import main
from trustmm.dataset.statistics import degree_quantiles, health

INTER = "userID\titemID\tx_label\n0\t0\t0\n0\t1\t1\n1\t1\t0\n1\t0\t2\n2\t2\t0\n"


def toys(root: Path) -> Path:
    folder = root / "toys"
    folder.mkdir()
    (folder / "toys.inter").write_text(INTER)
    np.save(folder / "image_feat.npy", np.array([[3.0, 4, 1], [0, 0, 1], [np.nan, 0, 1]], dtype=np.float32))
    return folder


def test_health_counts_what_is_wrong() -> None:
    rows = np.array([[3.0, 4], [0, 0], [3, 4], [0, 0], [np.inf, 1], [6, 8]])
    found = health(rows)
    assert (found.rows, found.width, found.dtype) == (6, 2, "float64")
    assert (found.zero_rows, found.duplicate_rows, found.not_finite_rows, found.constant_columns) == (2, 1, 1, 0)
    assert_allclose(found.norms, [5, 0, 5, 0, 10])


def test_health_sees_constant_columns_and_half_precision() -> None:
    found = health(np.array([[1, 7], [2, 7], [300, 7]], dtype=np.float16))
    assert found.constant_columns == 1
    assert_allclose(found.norms[2], np.hypot(300, 7))  # float16 would overflow


def test_degree_quantiles_are_these() -> None:
    found = degree_quantiles(np.array([1, 2, 3, 4, 10]))
    assert (found["0%"], found["50%"], found["100%"], found["mean"]) == (1, 3, 10, 4)


def test_command_describes_the_published_layout(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main([str(toys(tmp_path)), "--out", str(tmp_path / "figure.png")])
    said = capsys.readouterr().out
    assert said.startswith("toys: 3 users, 3 items, 5 interactions, 44.444% sparse\n")
    assert "3 train, 1 valid, 1 test" in said
    assert "image_feat.npy, 3 x 3 float32" in said
    assert "rows: 0 zero, 0 duplicate, 1 not finite; constant columns: 1" in said
    assert "no dataset.json" in said
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")


def test_figure_goes_beside_the_data_which_stay_readable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = toys(tmp_path)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    for _ in range(2):
        main([str(folder)])
    assert sorted(path.name for path in folder.iterdir()) == ["image_feat.npy", "toys.inter", "toys.png"]
    assert list(elsewhere.iterdir()) == []


@pytest.mark.parametrize(
    ("out", "message"), [("a.txt", "--out a.txt: found the suffix '.txt'"), ("/proc/a.png", "(--out)")]
)
def test_place_of_the_figure_that_cannot_be_is_one_line(
    out: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main([str(toys(tmp_path)), "--out", out])
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / "toys.inter").unlink(), "found none, expected one .inter file"),
        (lambda folder: (folder / "b.inter").write_text(""), "found b.inter, toys.inter, expected one .inter file"),
        (lambda folder: (folder / "image_feat.npy").write_text("x"), "expected a .npy file"),
        (lambda folder: (folder / "dataset.json").write_text("[]"), "found no format"),
    ],
)
def test_folder_that_cannot_be_read_is_one_message(spoil, message: str, tmp_path: Path, capsys) -> None:  # type: ignore[no-untyped-def]
    folder = toys(tmp_path)
    spoil(folder)
    with pytest.raises(SystemExit):
        main([str(folder), "--out", str(tmp_path / "figure.png")])
    assert message in capsys.readouterr().err


def test_wrong_number_of_rows_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = toys(tmp_path)
    np.save(folder / "image_feat.npy", np.ones((4, 2)))
    main([str(folder), "--out", str(tmp_path / "figure.png")])
    assert "WRONG: expected 3 rows, the items" in capsys.readouterr().out


@pytest.mark.realdata
@pytest.mark.parametrize("name", ["Baby", "Sports"])
def test_real_data_have_the_statistics_of_table_1(
    name: str, real_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    published = real_data.parent / "paper_results.json"
    if not published.is_file():
        pytest.skip(f"no published numbers at {published}")
    row = json.loads(published.read_text(encoding="utf-8"))["table1"][name]
    main([str(real_data / name.lower()), "--out", str(tmp_path / "figure.png")])
    counts = ", ".join(f"{row[kind]:,} {kind}" for kind in ("users", "items", "interactions"))
    expected = f"{counts}, {row['sparsity']:.3%} sparse"
    assert capsys.readouterr().out.splitlines()[0] == f"{name.lower()}: {expected}"
