"""What `trustmm cache` shows and removes."""

from pathlib import Path

import numpy as np
import pytest

from trustmm.cli.cache import main
from trustmm.store.cache import Cache


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for kind, number in (("prior", 0), ("prior", 1), ("neighbours", 0)):
        Cache(tmp_path / "cache").arrays(kind, {"k": number}, lambda: {"matrix": np.zeros(125_000)})
    (tmp_path / "cache" / "prior" / "x.npz.damaged").write_bytes(b"damaged")
    return tmp_path / "cache"


def shown(capsys: pytest.CaptureFixture[str]) -> dict[str, list[str]]:
    return {line.split()[0]: line.split()[1:4] for line in capsys.readouterr().out.splitlines()}


def test_kinds_entries_sizes_and_the_last_use_are_shown(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main([str(folder)])
    lines = shown(capsys)
    assert list(lines) == ["kind", "neighbours", "prior", "all"]
    assert lines["prior"] == ["2", "2", "MB"]
    assert lines["all"] == ["3", "3", "MB"]


def test_empty_removes_everything_and_a_limit_the_rest(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main([str(folder), "--limit", "2.1 MB"])
    assert shown(capsys)["all"][0] == "2"
    main([str(folder), "--empty"])
    assert shown(capsys)["all"] == ["0", "0", "B"]
    assert not [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock"]


@pytest.mark.parametrize("words", [["nowhere"], ["{folder}", "--limit", "much"]])
def test_mistake_is_one_line(words: list[str], folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([word.format(folder=folder) for word in words])
    assert ended.value.code == 1
    assert capsys.readouterr().err.count("\n") == 1
