"""What the command line leaves behind is what a report reads."""

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from trustmm.cli.demo import recall_table, repairs_table
from trustmm.cli.report import main
from trustmm.report.runs.read import read_sweeps
from trustmm.store.sweep_folder import read_cells
from trustmm.tracking.mlflow_run import connect

TINY = ("dataset.num_users=60", "dataset.num_items=40", "dataset.num_interactions=400", "rectifier.k=5")
SHORT = ("training.epochs=2", "prior.epochs=2", "rectifier.projection.epochs=2", "backbone=vbpr")
SWEEP = Path("outputs/sweeps/study")


@pytest.mark.slow
def test_sweep_is_reported_and_the_report_logged_to_its_parent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = [sys.executable, "-m", "trustmm", "-m", *TINY, *SHORT, f"hydra.sweep.dir={SWEEP}", "rectifier=none,mr"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=dict(os.environ), timeout=1200)
    assert done.returncode == 0, done.stderr
    monkeypatch.chdir(tmp_path)
    main([str(SWEEP), "--out", "out"])
    runs = pd.read_csv("out/runs.csv")
    assert list(runs["rectifier"]) == ["none", "mr"]
    assert "| synthetic | measured | 60 | 40 | 400 |" in Path("out/table1.md").read_text(encoding="utf-8")
    client = connect("sqlite:///mlflow.db")
    parent = client.get_run(read_cells(SWEEP)[0]["run_id"]).data.tags["mlflow.parentRunId"]
    assert "report/report.md" in {file.path for file in client.list_artifacts(parent, "report")}
    main(["--mlflow", "sqlite:///mlflow.db", "--parent", parent, "--out", "again", "--no-log", "--claims"])
    again = pd.read_csv("again/runs.csv").set_index("job_id")
    pd.testing.assert_frame_equal(
        again[["test/recall@10"]], runs.set_index("job_id")[["test/recall@10"]], check_like=True
    )
    table = read_sweeps([SWEEP])
    assert recall_table("x", table).row_count == 1
    assert repairs_table(table).row_count == 2
