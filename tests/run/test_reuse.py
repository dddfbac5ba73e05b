"""What a finished job records of where its numbers come from."""

from contextlib import nullcontext
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.options.test_build import composed
from trustmm.run import progress, reuse
from trustmm.run.cell import LABELS, build_cell
from trustmm.training.course import Epoch

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
    assert {entry["kind"] for entry in first["inputs"]} == {
        *("prior", "projection", "mismatch", "plan", "nearest", "model")
    }
    second = finished(tmp_path, monkeypatch, "SkylakeX", "rectifier=mr", "rectifier.lam=0.2", "backbone=freedom")
    assert second["environment"]["blas"] == "SkylakeX"
    made = {entry["kind"]: entry["environment"]["blas"] for entry in second["inputs"]}
    assert made["prior"] == "Haswell"
    assert made["nearest"] == "SkylakeX"
    assert datetime.fromisoformat(second["ended"]) > datetime.fromisoformat(first["ended"])
    plain = finished(tmp_path, monkeypatch, "SkylakeX", "rectifier=none", "backbone=bpr")
    assert [(entry["kind"], entry["environment"]["blas"]) for entry in plain["inputs"]] == [("model", "SkylakeX")]


class Killed(Exception):
    pass


def killed(stage: str, epoch: int) -> Any:
    """Progress that ends the process, as far as the job can tell, after an epoch of a stage."""

    def on_epoch(name: str, one: Epoch, *_: int) -> None:
        if (name, one.epoch) == (stage, epoch):
            raise Killed

    return nullcontext(on_epoch)


@pytest.mark.parametrize(("stage", "kind"), [("prior", "prior"), ("backbone", "checkpoint")])
def test_a_training_that_was_begun_elsewhere_names_both_environments(
    stage: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = ("rectifier=mr", "backbone=lightgcn", "prior.epochs=3", "training.epochs=3", "training.checkpoint_every=1")
    with monkeypatch.context() as patch:
        patch.setattr(progress, "progress", lambda: killed(stage, 1))
        with pytest.raises(Killed):
            finished(tmp_path, patch, "Haswell", *job)
    whole = finished(tmp_path, monkeypatch, "SkylakeX", *job)
    began = {entry["kind"] for entry in whole["inputs"] if entry["environment"]["blas"] == "Haswell"}
    assert kind in began
    if stage == "backbone":  # LightGCN sees no features: the next job takes its training
        other = finished(tmp_path, monkeypatch, "SkylakeX", *job, "corruption.eta=0.3")
        taken = [entry["environment"]["blas"] for entry in other["inputs"] if entry["kind"] in ("training", "model")]
        assert taken == ["SkylakeX", "Haswell"]
