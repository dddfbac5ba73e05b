"""A study that stops by itself as a user meets it: real jobs, one of which fails, and the same command again."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.odd import tmp_path as tmp_path
from trustmm.tracking.mlflow_run import connect

STUDY = (
    *("-m", "hydra/sweeper=trustmm_evidence", "backbone=bpr", "training.epochs=3", "hydra.launcher.n_workers=2"),
    *("dataset.num_users=60", "dataset.num_items=40", "dataset.num_interactions=400"),
    *("hydra.sweeper.compare=training.learning_rate", "hydra.sweeper.base=0.02", "hydra.sweeper.looks=[2,3]"),
    *("hydra.sweeper.futility=0", "training.learning_rate=0.02,0.021,1e30"),
)


def trustmm(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "trustmm", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=500)


@pytest.mark.slow
def test_a_study_goes_on_beside_a_failure_is_tracked_repeated_and_reported(tmp_path: Path) -> None:
    first, again = (trustmm(*STUDY, cwd=tmp_path) for _ in range(2))
    for done in (first, again):
        assert done.returncode == 1
        said = "1 of 2 comparisons could not be made: training.learning_rate=1e+30: failed"
        assert done.stderr.splitlines()[-1].endswith(said), done.stderr
        assert "Traceback" not in done.stderr
    (sweep,) = (tmp_path / "outputs" / "sweeps").iterdir()
    head, *lines = [json.loads(line) for line in (sweep / "evidence.jsonl").read_text(encoding="utf-8").splitlines()]
    assert head["comparisons"] == 2
    assert {line["comparison"] for line in lines} == {"training.learning_rate=0.021"}
    assert [line["seeds"] for line in lines] == [2, 3][: len(lines)]
    ended = lines[-1]["ended"]
    assert ended
    finished = len(list(tmp_path.glob("outputs/*/result.json")))
    assert finished == 2 * lines[-1]["seeds"]

    client = connect(f"sqlite:///{tmp_path}/mlflow.db")
    runs = client.search_runs([client.get_experiment_by_name("trustmm").experiment_id])
    (parent,) = [run for run in runs if run.data.tags["role"] == "sweep"]
    assert parent.info.status == "FAILED"
    assert f"| training.learning_rate=0.021 | {ended} |" in parent.data.tags["mlflow.note.content"]
    assert {"evidence.jsonl", "evidence.png"} <= {file.path for file in client.list_artifacts(parent.info.run_id)}
    good = [run for run in runs if run.data.tags["role"] == "job" and run.info.status == "FINISHED"]
    assert len(good) == finished

    done = trustmm("report", str(sweep), "--out", "report", "--no-log", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"| training.learning_rate=0.021 | {ended} |" in (tmp_path / "report" / "report.md").read_text("utf-8")
