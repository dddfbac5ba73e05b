"""The command line as a user meets it."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.odd import tmp_path as tmp_path
from trustmm.tracking.mlflow_run import connect

TINY = ("dataset.num_users=60", "dataset.num_items=40", "dataset.num_interactions=400", "rectifier.k=5")
SHORT = ("training.epochs=3", "prior.epochs=3", "rectifier.projection.epochs=2")


def trustmm(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "TRUSTMM_DATA"}
    command = [sys.executable, "-m", "trustmm", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=environment, timeout=300)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["corruption.eta=1.7"], "corruption.eta must be in [0, 1], got 1.7"),
        (["corruption.eta=many"], "corruption.eta must be a number, got 'many'"),
        (
            ["corruption.kind=noise"],
            "corruption.kind must be permute or constant or normal or missing or swap_similar or "
            "replace or shift or frames or rotate or the path of a function in a plugin, got 'noise'",
        ),
        (["corruption.etta=0.2"], "unknown key corruption.etta; did you mean corruption.eta"),
        (["+corruption.etta=0.2"], "unknown key corruption.etta; did you mean corruption.eta"),
        (["backbone=lightgcn", "backbone.num_layer=2"], "did you mean backbone.num_layers"),
        (["dataset=sports"], "dataset.root is not set: give the folder that holds sports/sports.inter"),
        (["dataset=folder", "dataset.root=."], "dataset.name must be given"),
        (["backbone=freedum"], "unknown option backbone=freedum; did you mean backbone=freedom?"),
        (["corruption.eta_of.smell=0.2", "tracking=none"], "no such modality, only ['textual', 'visual']"),
        (["rectifier=mr", "rectifier.rho=half"], "rectifier.rho must be a number or paper or drop or estimate"),
        (["rectifier=mr", "rectifier.k=41", *TINY[:3], "tracking=none"], "rectifier.k must be at most the 40 items"),
        (["seed=-1"], "seed must be in [0, inf), got -1"),
        (["training._target_=os.system"], "training._target_ must be a class in trustmm or torch.optim"),
        (["tracking.uri=mlruns"], "tracking.uri must be a database file such as sqlite:///mlflow.db"),
        (["dataset.modalities=null"], "dataset.modalities must be a mapping of names to values, got None"),
    ],
)
def test_mistake_is_one_message_and_no_traceback(arguments: list[str], expected: str, tmp_path: Path) -> None:
    done = trustmm(*arguments, cwd=tmp_path)
    assert done.returncode == 1
    assert expected in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_backbone_without_the_features_it_needs_is_refused(tmp_path: Path) -> None:
    bare = ("~dataset.modalities.visual", "~dataset.modalities.textual")
    done = trustmm(*TINY, *bare, "backbone=vbpr", "tracking=none", cwd=tmp_path)
    assert done.returncode == 1
    assert "VBPR needs item features, but dataset 'synthetic' has none" in done.stderr


def test_a_sweep_whose_data_lack_a_modality_starts_no_job(tmp_path: Path) -> None:
    done = trustmm("-m", *TINY, "+corruption.eta_of.smell=0.1,0.2", "tracking=none", cwd=tmp_path)
    assert done.returncode == 1
    assert "corruption.eta_of.smell: the dataset has no such modality, only ['textual', 'visual']" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.glob("outputs/*/result.json"))
    assert "job 1 of 2" not in done.stderr


def test_help_explains_groups_and_keys(tmp_path: Path) -> None:
    shown = trustmm("run", "--help", cwd=tmp_path).stdout
    for word in ("python -m trustmm", "backbone: ", "rectifier: ", "corruption.eta=0.2", "tracking=none"):
        assert word in shown


def test_composing_imports_no_heavy_library(tmp_path: Path) -> None:
    code = (
        "import sys; sys.argv = ['trustmm', '--cfg', 'job']\n"
        "from trustmm.cli.run import main\n"
        "main()\n"
        "heavy = {'torch', 'mlflow', 'optuna', 'matplotlib', 'pandas'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_job_without_tracking_needs_no_tracking_library(tmp_path: Path) -> None:
    code = (
        f"import sys; sys.argv = ['trustmm', 'tracking=none', *{TINY + SHORT}]\n"
        "from trustmm.cli.run import main\n"
        "main()\n"
        "heavy = {'mlflow', 'optuna', 'matplotlib', 'pandas', 'scipy'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_finished_job_is_reused_and_its_numbers_are_in_result_json(tmp_path: Path) -> None:
    first = trustmm(*TINY, *SHORT, "tracking=none", cwd=tmp_path)
    again = trustmm(*TINY, *SHORT, "tracking=none", cwd=tmp_path)
    assert first.returncode == again.returncode == 0, first.stderr + again.stderr
    assert first.stdout == again.stdout
    assert "reused the finished job" in again.stderr
    assert "reused the finished job" not in first.stderr
    line = first.stdout.splitlines()[-1]
    summary = json.loads((tmp_path / line.rpartition("result=")[2]).read_text())
    assert line.startswith(
        f"test recall@10={summary['test']['recall@10']:.4f} ndcg@10={summary['test']['ndcg@10']:.4f}"
    )


def test_same_seed_gives_the_same_result_file_and_another_seed_does_not(tmp_path: Path) -> None:
    science = ("valid", "test", "test_by_mask", "diagnostics", "best_epoch")
    found = []
    for folder, seed in (("a", 0), ("b", 0), ("c", 1)):
        options = (*TINY, *SHORT, "tracking=none", "rectifier=mr", "corruption.eta=0.3", f"seed={seed}")
        done = trustmm(*options, f"output_dir={folder}", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        path = done.stdout.splitlines()[-1].rpartition("result=")[2]
        summary = json.loads((tmp_path / path).read_text())
        found.append({name: summary[name] for name in science})
    assert found[0] == found[1]
    assert found[0] != found[2]


def test_sweep_leaves_a_parent_run_with_one_finished_child_per_job(tmp_path: Path) -> None:
    command = ("-m", *TINY, *SHORT, "rectifier=none,mr", "corruption.eta=0,0.3")
    done = trustmm(*command, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert sum(line.startswith("test recall@10=") for line in done.stdout.splitlines()) == 4
    logs = [path.read_text() for path in tmp_path.glob("outputs/*/job.log")]
    assert sum(log.count("cache: computed prior") for log in logs) == 1
    assert sum(log.count("job ended: FINISHED") for log in logs) == 4
    again = trustmm(*command, cwd=tmp_path)
    assert sorted(again.stdout.splitlines()) == sorted(done.stdout.splitlines())
    client = connect(f"sqlite:///{tmp_path}/mlflow.db")
    runs = client.search_runs([client.get_experiment_by_name("trustmm").experiment_id])
    parents = [run for run in runs if run.data.tags["role"] == "sweep"]
    children = [run for run in runs if run.data.tags["role"] == "job"]
    assert len(parents) == 1
    assert parents[0].info.status == "FINISHED"
    assert len(children) == 4
    assert {run.info.status for run in children} == {"FINISHED"}
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parents[0].info.run_id}
    assert {run.data.tags["corruption_kind"] for run in children} == {"permute"}
    assert {run.data.params["corruption.kind"] for run in children} == {"permute"}
    assert {run.data.params["corruption.eta"] for run in children} == {"0.0", "0.3"}
    cells = next((tmp_path / "outputs" / "sweeps").glob("*/cells.csv")).read_text().splitlines()
    assert len(cells) == 5
    names = {f"rectifier={rectifier} corruption.eta={eta}" for rectifier in ("none", "mr") for eta in (0, 0.3)}
    labels = {f"{repair} eta={eta}" for repair in ("no rectifier", "mr") for eta in (0, 0.3)}
    assert {run.info.run_name for run in children} == labels
    for run in children:  # one of the repaired jobs, whichever was first, also has the prior's curve
        assert sum(not name.startswith("curve_prior/") for name in run.data.metrics) < 25
    assert all("curve/valid recall_at_10" in run.data.metrics for run in children)
    assert "metrics.csv" in [file.path for file in client.list_artifacts(children[0].info.run_id)]
    parent = parents[0]
    kept = [file.path for file in client.list_artifacts(parent.info.run_id)]
    assert kept == ["bookkeeping", "summary.csv", "summary.png"]
    history = client.get_metric_history(parent.info.run_id, "mean recall_at_10/rectifier mr")
    assert {point.step for point in history} == {0, 30}
    assert parent.data.metrics["number of jobs/reused"] == 4
    assert parent.data.tags["selected_by_validation"] in names
    assert parent.data.params["varied/rectifier"] == "none, mr"


def test_termination_ends_the_run_as_killed_and_keeps_its_history(tmp_path: Path) -> None:
    options = (*TINY, "training.epochs=1000000", "training.patience=1000000")
    job = subprocess.Popen([sys.executable, "-m", "trustmm", *options], cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("outputs/*/history.jsonl")) or len(_lines(tmp_path)) < 3:
        assert time.monotonic() < deadline, "no three epochs finished"
        time.sleep(0.2)
    job.send_signal(signal.SIGTERM)
    _, log = job.communicate(timeout=60)
    assert job.returncode == 143, log
    client = connect(f"sqlite:///{tmp_path}/mlflow.db")
    (run,) = client.search_runs([client.get_experiment_by_name("trustmm").experiment_id])
    assert run.info.status == "KILLED", log
    assert client.get_metric_history(run.info.run_id, "curve/valid recall_at_10")
    assert _lines(tmp_path)


def _lines(folder: Path) -> list[str]:
    return [line for path in folder.glob("outputs/*/history.jsonl") for line in path.read_text().splitlines()]
