"""What a finished job records of where its numbers come from."""

from datetime import datetime
from pathlib import Path

import pytest

from tests.options.test_build import composed
from trustmm.run import reuse
from trustmm.run.cell import LABELS, build_cell

TINY = (
    "dataset=synthetic",
    "dataset.num_users=60",
    "dataset.num_items=40",
    "dataset.num_interactions=400",
    "rectifier.k=5",
)
SHORT = ("training.epochs=1", "prior.epochs=1", "rectifier.projection.epochs=1", "training.device=cpu", "tracking=none")


def finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, blas: str, *overrides: str) -> dict[str, object]:
    here = {"blas": blas, "host": "here"}
    monkeypatch.setattr(reuse, "environment", lambda device: here)
    config = composed(*TINY, *SHORT, f"output_dir={tmp_path}", *overrides)
    cell = build_cell(config, dict.fromkeys(LABELS, "x"))
    return dict(reuse.run_or_reuse(cell, cell.read_data(), lambda stored: "").stored.summary)


def test_result_names_the_environments_of_all_its_inputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = finished(tmp_path, monkeypatch, "Haswell", "rectifier=mr", "backbone=freedom")
    assert first["environment"] == {"blas": "Haswell", "host": "here"}
    assert {entry["kind"] for entry in first["inputs"]} == {*("prior", "projection", "mismatch", "plan", "nearest")}
    second = finished(tmp_path, monkeypatch, "SkylakeX", "rectifier=mr", "rectifier.lam=0.2", "backbone=freedom")
    assert second["environment"]["blas"] == "SkylakeX"
    made = {entry["kind"]: entry["environment"]["blas"] for entry in second["inputs"]}
    assert made["prior"] == "Haswell"
    assert made["nearest"] == "SkylakeX"
    assert datetime.fromisoformat(second["ended"]) > datetime.fromisoformat(first["ended"])
    plain = finished(tmp_path, monkeypatch, "SkylakeX", "rectifier=none", "backbone=bpr")
    assert plain["inputs"] == []
