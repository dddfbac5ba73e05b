"""A repeated sweep says why finished cells are other jobs now."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig

from tests.report.conftest import make_summary
from trustmm.store.identity import PARTS
from trustmm.store.job_folder import write_result
from trustmm.store.sweep_folder import record_cell
from trustmm.sweep import plan
from trustmm.sweep.engine import Task
from trustmm.sweep.plan import Sweep, _changed_since, changed_cells
from trustmm.tracking.mlflow import NoTracking


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"code_digest": "beef"}, "code: c0de, now beef"),
        ({"dataset_digest": "747bc6"}, "data: 3abb15, now 747bc6"),
        ({"options": {"backbone": {"k": 5}}}, "option backbone.k: 10, now 5"),
    ],
)
def test_why_finished_cells_run_again_is_one_line_with_both_values(
    change: dict[str, Any], why: str, tmp_path: Path
) -> None:
    outputs, folder = tmp_path / "outputs", tmp_path / "outputs" / "sweeps" / "study"
    facts = {"options": {"backbone": {"k": 10}}, "dataset_digest": "3abb15", "code_digest": "c0de"}
    tasks = []
    for seed in (0, 1):
        summary = make_summary(0.1, {"seed": seed}) | facts
        write_result(outputs / summary["job_id"], summary, {})
        record_cell(folder, f"seed={seed}", summary["job_id"], None)
        tasks.append(Task(seed, (f"seed={seed}",), f"new{seed}", outputs / f"new{seed}"))
    assert facts.keys() <= set(PARTS)
    [line] = changed_cells(folder, tasks, [facts | change] * 2)
    assert line.startswith("2 finished cells are other jobs now (")
    assert line.endswith(f" -> new0): {why}")
    assert _changed_since(tasks[0], make_summary(0.1, {"seed": 0})["job_id"], facts | change) == why
    assert _changed_since(tasks[0], "gone", facts | change) == ""
    same = [Task(0, ("seed=0",), make_summary(0.1, {"seed": 0})["job_id"], outputs / "x")]
    assert changed_cells(folder, same, [facts]) == []


def test_a_full_disk_at_the_end_closes_the_run_of_the_sweep_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    closed: list[str] = []

    class Kept(NoTracking):
        def finish_parent(self, run_id: str | None, status: str, summary: Any) -> str | None:
            closed.append(f"{run_id} {status}")
            return None

    def full(*arguments: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(tmp_path / "failed.csv"))

    monkeypatch.setattr(plan, "write_failures", full)
    sweep = Sweep(lambda words: DictConfig({}), tmp_path, lambda *arguments, **options: "")
    sweep.parents[Kept(uri="x", experiment="x")] = "run"
    sweep.finish("FINISHED")
    assert closed == ["run FINISHED"]
    assert f"No space left on device: '{tmp_path / 'failed.csv'}'" in caplog.text
