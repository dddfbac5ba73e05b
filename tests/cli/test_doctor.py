"""What the doctor finds, and what it advises."""

import importlib.metadata
from pathlib import Path

import pytest

from trustmm.cli import doctor


def test_a_sound_machine_needs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(doctor, "LEAST_FREE", 0.0)
    with pytest.raises(SystemExit, match="0|False"):
        doctor.main()
    shown = capsys.readouterr().out
    assert [line[2:11].strip() for line in shown.splitlines()] == [
        "trustmm",
        "libraries",
        "CPU",
        "BLAS",
        "GPU",
        "disk",
        "tracking",
        "plugins",
    ]
    assert list(tmp_path.iterdir()) == []


def test_more_threads_than_cores_are_advised_against(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "4096")
    assert "set OMP_NUM_THREADS to at most" in doctor.processors().advice


def test_a_missing_library_is_named_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        if name == "optuna":
            raise importlib.metadata.PackageNotFoundError(name)
        return "1.0"

    monkeypatch.setattr(importlib.metadata, "version", version)
    assert doctor.libraries().advice == "pip install optuna"


def test_a_plugin_that_is_not_there_is_advised_about(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRUSTMM_PLUGINS", "nowhere")
    assert "nowhere" in doctor.plugins().text
    assert doctor.plugins().advice


def test_a_full_disk_is_advised_about(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(doctor, "LEAST_FREE", 1e9)
    (disk,) = (finding for finding in doctor.findings(tmp_path) if finding.name == "disk")
    assert disk.advice == "free some space first"
