"""Folders of any name, typed: what to type is said, and files lie there and nowhere else."""

import gc
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from omegaconf import DictConfig

from tests.cli.test_rectify import OPTIONS
from tests.odd import ALL_SIGNS, SIGNS, typed
from trustmm.cli.describe import main as describe
from trustmm.cli.report import main as report
from trustmm.cli.run import main, run_command
from trustmm.dataset.synthetic import SyntheticDataset
from trustmm.dataset.write import write_dataset
from trustmm.options.explain import in_quotes

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # Hydra's log of a run


@pytest.fixture(autouse=True, scope="module")
def _logs_end_here() -> Iterator[None]:
    """Hydra's logs are found open here, where nobody minds, and not in the next module."""
    yield
    gc.collect()


SHORT = ("training.epochs=1", "training.device=cpu", "backbone=bpr", "tracking=none", "rectifier.k=5")


def read_as(word: str, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    found: list[str] = []

    def keep(config: DictConfig) -> None:
        found.append(config.output_dir)

    monkeypatch.setattr(sys, "argv", ["trustmm", word])
    with suppress(SystemExit):
        run_command(keep, "config")
    return found


@pytest.mark.parametrize("name", [*SIGNS, ALL_SIGNS, "a(b)", "{a}", "[a]", "~a"])
def test_a_word_that_cannot_be_read_is_told_in_one_line_how_to_type_it(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    found = read_as(f"output_dir={name}/x", monkeypatch)
    said = capsys.readouterr().err
    assert found == [f"{name}/x"] if not said else said.endswith(f"{in_quotes(f'output_dir={name}/x')}\n")
    assert len(said.splitlines()) == (not found)
    assert read_as(typed("output_dir", f"{name}/x"), monkeypatch) == [f"{name}/x"]


def test_output_data_and_report_lie_where_it_was_typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    place, data = tmp_path / ALL_SIGNS, tmp_path / ALL_SIGNS / "toys"
    write_dataset(SyntheticDataset(**OPTIONS)(), data)
    words = ["dataset=folder", typed("dataset.root", data), typed("output_dir", place / "outputs")]
    monkeypatch.setattr(sys, "argv", ["trustmm", *SHORT, *words])
    main()
    assert len([*(place / "outputs").glob("*/result.json")]) == 1
    report([str(place / "outputs"), "--out", str(place / "report")])
    assert str(place / "outputs") in (place / "report" / "report.md").read_text()
    describe([str(data), "--out", str(place / "degrees.png")])
    assert {path.name for path in tmp_path.iterdir()} == {ALL_SIGNS}
