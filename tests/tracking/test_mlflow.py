import importlib
import logging
import math
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from urllib.parse import unquote, urlparse

import pytest
from omegaconf import OmegaConf
from sqlalchemy import event

from trustmm.process.signals import Terminated
from trustmm.tracking import mlflow_run
from trustmm.tracking.mlflow import DatasetInfo, MLflowTracking, NoTracking, TrackingError, link_to_latest
from trustmm.tracking.mlflow_run import connect, legal_names
from trustmm.tracking.redact import public
from trustmm.tracking.view import SweepSummary, link_to_sweep

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("with space #1")
    tracking = MLflowTracking(uri=f"sqlite:///{folder}/mlflow.db", experiment="trustmm")
    tracking.initialise()
    return tracking


@pytest.fixture(autouse=True)
def _no_surprise_warnings(caplog, request):
    """The store must not fail in silence where a test does not expect it."""
    caplog.set_level(logging.WARNING)
    yield
    if "breaks" not in request.node.name:
        assert not caplog.records


def get(tracking, run_id):
    return connect(tracking.uri).get_run(run_id)


def start(tracking, **changes):
    return tracking.run("job", **{"params": {"seed": 0}, "tags": {"job_id": "abc"}, **changes})


def python(code, *arguments, **options):
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)


def failing(error):
    def fail(*arguments, **options):
        raise error

    return fail


def test_a_normal_end_is_finished_with_its_origin(store):
    with start(store) as run:
        assert get(store, run.run_id).info.status == "RUNNING"
    ended = get(store, run.run_id)
    assert (ended.info.status, ended.info.run_name) == ("FINISHED", "job")
    assert ended.info.end_time >= ended.info.start_time
    tags = ended.data.tags
    assert tags["host"] == socket.gethostname()
    assert tags["pid"] == str(os.getpid())
    assert tags["mlflow.user"]
    assert tags["mlflow.source.name"]
    assert "error" not in tags
    assert "tracking_failures" not in tags


def test_the_commit_of_the_source_is_a_tag(store):
    if shutil.which("git") is None:
        pytest.skip("no git here")
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    if head.returncode:
        pytest.skip("not a git checkout")
    with start(store) as run:
        pass
    assert get(store, run.run_id).data.tags["mlflow.source.git.commit"] == head.stdout.strip()


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ValueError("k must be >= 1"), "FAILED"),
        (ArithmeticError("x" * 9000), "FAILED"),
        (KeyboardInterrupt(), "KILLED"),
        (SystemExit(3), "KILLED"),
        (Terminated("received SIGTERM"), "KILLED"),
    ],
)
def test_an_exception_sets_the_status_and_is_raised_again(store, error, status):
    with pytest.raises(type(error)) as caught, start(store) as run:
        raise error
    assert caught.value is error
    ended = get(store, run.run_id)
    assert ended.info.status == status
    assert ended.data.tags["error"].startswith(f"{type(error).__name__}: {str(error)[:20]}")
    assert len(ended.data.tags["error"]) <= 5000


def test_a_real_sigterm_is_recorded_and_nothing_else_is_printed(store):
    child = python(
        "import sys\n"
        "from trustmm.process.signals import termination_as_exception\n"
        "from trustmm.tracking.mlflow import MLflowTracking\n"
        "store = MLflowTracking(uri=sys.argv[1], experiment='trustmm')\n"
        "store.initialise()\n"
        "with termination_as_exception(), store.run('job', params={}, tags={}) as run:\n"
        "    print(run.run_id, flush=True)\n"
        "    sys.stdin.read()\n",
        store.uri,
        stdin=subprocess.PIPE,
    )
    run_id = child.stdout.readline().strip()
    child.send_signal(signal.SIGTERM)
    output, errors = child.communicate(timeout=60)
    assert child.returncode != 0
    assert output == ""
    assert errors.startswith("Traceback")
    assert errors.rstrip().endswith("Terminated: received SIGTERM")
    assert get(store, run_id).info.status == "KILLED"


COLD_START = """
import os, sys, threading
from mlflow.tracking import MlflowClient
from trustmm.tracking.mlflow import MLflowTracking

assert threading.active_count() == 1
ready, go = os.pipe()
children = []
for number in range(8):
    child = os.fork()
    if child == 0:
        os.close(go)
        os.read(ready, 1)
        try:
            store = MLflowTracking(uri=sys.argv[1], experiment="cold")
            store.initialise()
            with store.run(f"job-{number}", params={"number": number}, tags={"job_id": str(number)}) as run:
                for step in range(5):
                    run.log_metrics({"recall@10": 0.1 * step}, step)
        except BaseException as error:
            print(error, file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)
    children.append(child)
os.close(go)
codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
sys.exit(sum(map(abs, codes)))
"""


def test_eight_processes_may_meet_on_a_fresh_database(tmp_path):
    uri = f"sqlite:///{tmp_path}/new/mlflow.db"
    parent = python(COLD_START, uri, env={**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"})
    _, errors = parent.communicate(timeout=120)
    assert errors == ""
    assert parent.returncode == 0
    with closing(sqlite3.connect(tmp_path / "new" / "mlflow.db")) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert database.execute("PRAGMA journal_mode").fetchall() == [("wal",)]
        assert database.execute("SELECT count(*) FROM experiments WHERE name = 'cold'").fetchone() == (1,)
        assert database.execute("SELECT count(*) FROM runs WHERE status = 'FINISHED'").fetchone() == (8,)
        assert database.execute("SELECT count(*) FROM metrics").fetchone() == (40,)


def test_a_sweep_finds_its_parent_again(store, tmp_path):
    first = store.parent("sweep-1", name="question 1", tags={"question": "q1"}, params={"jobs": 4})
    with start(store, parent_run_id=first, tags={"job_id": "p1", "sweep_id": "sweep-1"}) as child:
        pass
    (tmp_path / "cells.csv").write_text("cell,job_id\n")
    store.finish_parent(first, "FAILED", SweepSummary(files={"books/cells.csv": tmp_path / "cells.csv"}))
    assert get(store, first).info.status == "FAILED"
    again = store.parent("sweep-1", name="question 1", tags={"question": "q1"}, params={"jobs": 5})
    assert again == first
    assert get(store, first).info.status == "RUNNING"
    store.finish_parent(first, "FINISHED", SweepSummary())
    assert get(store, first).info.status == "FINISHED"
    assert get(store, first).data.params == {"jobs": "4"}
    assert get(store, child.run_id).data.tags["mlflow.parentRunId"] == first
    assert [file.path for file in connect(store.uri).list_artifacts(first, "books")] == ["books/cells.csv"]
    assert store.parent("sweep-2", name="question 2", tags={}, params={}) != first


def test_the_newest_sweep_of_a_store_has_an_address_and_an_empty_store_has_none(tmp_path):
    fresh = MLflowTracking(uri=f"sqlite:///{tmp_path}/mlflow.db", experiment="trustmm")
    assert link_to_latest(fresh.uri, "http://here") is None
    assert not (tmp_path / "mlflow.db").exists()
    fresh.initialise()
    assert link_to_latest(fresh.uri, "http://here") is None
    fresh.parent("one", name="one", tags={}, params={})
    newest = fresh.parent("two", name="two", tags={}, params={})
    with start(fresh, parent_run_id=newest):
        pass
    experiment = connect(fresh.uri).get_experiment_by_name("trustmm").experiment_id
    assert link_to_latest(fresh.uri, "http://here") == link_to_sweep(experiment, newest, "http://here")


def test_a_sweep_says_what_it_found_in_numbers_over_its_axis_tags_and_params_that_stay(store):
    run_id = store.parent("numbers", name="numbers", tags={}, params={})
    for best in ("a", "b"):
        metrics = {0: {"mean recall@10/rectifier none": 0.1}, 20: {"mean recall@10/rectifier none": 0.2}}
        tags = {"selected_by_validation": best}
        summary = SweepSummary(["corruption.eta"], {"fixed": f"is {best}"}, metrics, tags, note=f"**{best}**")
        link = store.finish_parent(run_id, "FINISHED", summary)
    data, client = get(store, run_id).data, connect(store.uri)
    points = client.get_metric_history(run_id, "mean recall_at_10/rectifier none")
    assert {(point.step, point.value) for point in points} == {(0, 0.1), (20, 0.2)}
    assert (data.params, data.tags["selected_by_validation"]) == ({"fixed": "is a"}, "b")
    chart, note = data.tags["mlflow.note.content"].split("\n\n")
    assert note == "**b**"
    assert "(#/metric?" in chart
    assert "mean%20recall_at_10%2Frectifier%20none" in chart
    assert get(store, run_id).info.status == "FINISHED"
    assert run_id in link


def test_every_param_and_tag_is_kept(store):
    params = {f"group.key{number}": number for number in range(250)} | {"long": "x" * 7000, "none": None, "empty": ""}
    tags = {f"tag{number}": number for number in range(150)}
    with start(store, params=params, tags=tags) as run:
        run.set_tags({f"late{number}": True for number in range(150)})
    data = get(store, run.run_id).data
    assert len(data.params) == 253
    assert data.params["group.key249"] == "249"
    assert data.params["long"] == "x" * 6000
    assert data.params["none"] == "None"
    assert data.tags["tag149"] == "149"
    assert data.tags["late149"] == "True"


def test_metrics_cost_one_request_and_survive_odd_values(store, monkeypatch):
    with start(store) as run:
        client = connect(store.uri)
        calls, log_batch = [], client.log_batch
        monkeypatch.setattr(client, "log_batch", lambda *a, **k: (calls.append(k), log_batch(*a, **k)))
        values = {"valid/recall@10": 0.25, "loss (mm)": 1, "nan": math.nan, "inf": math.inf}
        run.log_metrics(values, step=3)
        assert len(calls) == 1
        run.log_metrics({f"m{number}": number for number in range(2100)})
    metrics = get(store, run.run_id).data.metrics
    assert metrics["valid/recall_at_10"] == 0.25
    assert metrics["loss _mm_"] == 1
    assert math.isnan(metrics["nan"])
    assert math.isnan(metrics["inf"])
    assert metrics["m2099"] == 2099
    assert client.get_metric_history(run.run_id, "valid/recall_at_10")[0].step == 3


def test_epochs_that_follow_each_other_closely_share_a_request(store, monkeypatch):
    monkeypatch.setattr(mlflow_run, "PAUSE", 1000.0)
    with start(store) as run:
        client = connect(store.uri)
        calls, log_batch = [], client.log_batch
        monkeypatch.setattr(client, "log_batch", lambda *a, **k: (calls.append(k), log_batch(*a, **k)))
        for step in range(50):
            run.log_metrics({"loss": 1 / (step + 1)}, step)
        assert [len(each["metrics"]) for each in calls] == [1]
    assert [len(each["metrics"]) for each in calls if "metrics" in each] == [1, 49]
    assert [point.step for point in client.get_metric_history(run.run_id, "loss")] == list(range(50))
    assert "tracking_failures" not in get(store, run.run_id).data.tags


@pytest.mark.parametrize(
    ("name", "legal"),
    [
        ("recall@10", "recall_at_10"),
        ("../../etc", "etc"),
        ("/a//b/./c/", "a/b/c"),
        ("..", "_"),
        ("", "_"),
        ("50%", "50_"),
        ("x" * 300, "x" * 240),
        ("a.b-c:d e", "a.b-c:d e"),
    ],
)
def test_names_become_legal(name, legal):
    assert legal_names({name: 1}) == {legal: 1}


def test_names_that_collide_are_all_kept():
    assert legal_names({"a+b": 1, "a*b": 2, "a_b": 3}) == {"a_b": 1, "a_b_": 2, "a_b__": 3}


def test_a_dataset_is_an_input_of_the_run(store):
    info = DatasetInfo(name="baby", digest="d" * 64, profile='{"users": 7}', source="/data/baby")
    with start(store, dataset=info) as run:
        pass
    (entry,) = get(store, run.run_id).inputs.dataset_inputs
    assert (entry.dataset.name, entry.dataset.digest, entry.dataset.profile) == ("baby", "d" * 36, '{"users": 7}')
    assert [(tag.key, tag.value) for tag in entry.tags] == [("mlflow.data.context", "training")]


def test_files_and_texts_land_beside_the_database(store, tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "config.yaml").write_text("seed: 0\n")
    with start(store) as run:
        run.log_files(tmp_path)
        run.log_text("text", "notes/error.txt")
    folder = Path(unquote(urlparse(get(store, run.run_id).info.artifact_uri).path))
    assert folder.is_relative_to(store._database.parent / "mlartifacts" / "trustmm")
    assert (folder / "deep" / "config.yaml").read_text() == "seed: 0\n"
    assert (folder / "notes" / "error.txt").read_text() == "text"


@pytest.mark.parametrize("experiment", ["../../outside", "..", "/etc/passwd", "a/b", ".", "wählt ☃", "x" * 400, "~"])
def test_no_experiment_name_leaves_the_folder(store, experiment):
    hostile = MLflowTracking(uri=store.uri, experiment=experiment)
    hostile.initialise()
    with start(hostile) as run:
        run.log_text("here", "a.txt")
    artefacts = store._database.parent / "mlartifacts"
    folder = Path(unquote(urlparse(get(store, run.run_id).info.artifact_uri).path))
    assert ".." not in folder.parts
    assert folder.resolve().is_relative_to(artefacts.resolve())
    assert (folder / "a.txt").read_text() == "here"
    assert folder.relative_to(artefacts).parts[0] in os.listdir(artefacts)
    assert hostile._artifact_location != MLflowTracking(uri=store.uri, experiment="a_b")._artifact_location


def test_two_runs_that_name_a_new_dataset_at_the_same_moment_both_keep_it(store):
    from mlflow.store.tracking.dbmodels.models import SqlDataset

    info = DatasetInfo(name="baby", digest="first seen twice", profile="{}", source="synthetic")
    others = []

    def come_first(*arguments):  # once: after our run has looked for the dataset and before it adds it
        with start(store, dataset=info) as other:
            others.append(other.run_id)

    event.listen(SqlDataset, "before_insert", come_first, once=True)
    with start(store, dataset=info) as run:
        pass
    (other,) = others
    for run_id in (run.run_id, other):
        ended = get(store, run_id)
        assert [inputs.dataset.digest for inputs in ended.inputs.dataset_inputs] == ["first seen twice"]
        assert "tracking_failures" not in ended.data.tags


def test_a_store_that_breaks_costs_one_warning_and_no_training(tmp_path, caplog):
    store = MLflowTracking(uri=f"sqlite:///{tmp_path}/mlflow.db", experiment="broken")
    store.initialise()
    with closing(sqlite3.connect(store._database)) as database, start(store) as run:
        database.execute("ALTER TABLE metrics RENAME TO gone")
        for step in range(3):
            run.log_metrics({"loss": 1.0}, step)
        database.execute("ALTER TABLE gone RENAME TO metrics")
        run.log_metrics({"loss": 0.5}, 3)
        run.log_files(tmp_path / "absent" / "for ever")
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "could not log metrics, continuing without it" in caplog.text
    assert "\n" not in caplog.records[0].message
    ended = get(store, run.run_id)
    assert ended.info.status == "FINISHED"
    assert ended.data.metrics == {"loss": 0.5}
    history = connect(store.uri).get_metric_history(run.run_id, "loss")
    assert {(point.step, point.value) for point in history} == {(0, 1.0), (1, 1.0), (2, 1.0), (3, 0.5)}
    assert "tracking_failures" not in ended.data.tags, "what was refused once is published at the end"


def test_a_database_deleted_midway_breaks_nothing_and_is_not_recreated(tmp_path, caplog):
    store = MLflowTracking(uri=f"sqlite:///{tmp_path}/mlflow.db", experiment="gone")
    store.initialise()
    with start(store) as run:
        store._database.unlink()
        run.log_metrics({"loss": 1.0})
        run.log_text("text", "a.txt")
    assert store.find("abc") is None
    store.close_orphans("abc")
    store.finish_parent("0" * 32, "FINISHED", SweepSummary(files={"a.csv": tmp_path / "a.csv"}))
    assert not store._database.exists()
    assert "is gone" in caplog.text


def test_a_store_that_breaks_does_not_hide_the_real_error(tmp_path):
    store = MLflowTracking(uri=f"sqlite:///{tmp_path}/never.db", experiment="x")
    with pytest.raises(ZeroDivisionError), start(store):
        1 / 0  # noqa: B018


def test_a_store_that_breaks_at_the_start_is_used_when_it_returns(store, monkeypatch, caplog):
    monkeypatch.setattr(connect(store.uri), "create_run", failing(OSError("database is locked")))
    with start(store, tags={"job_id": "late"}) as run:
        assert run.run_id is None
        monkeypatch.undo()
        run.log_metrics({"loss": 1.0})
        assert get(store, run.run_id).data.metrics == {"loss": 1.0}
    assert len(caplog.records) == 1


def test_find_knows_finished_runs_of_this_job_only(store):
    assert store.find("job-1") is None
    with pytest.raises(ValueError, match="no"), start(store, tags={"job_id": "job-1"}):
        raise ValueError("no")
    with start(store, tags={"job_id": "job-2"}) as other:
        assert store.find("job-2") is None
    with start(store, tags={"job_id": "job-1"}) as run:
        pass
    assert store.find("job-1") == run.run_id
    assert store.find("job-2") == other.run_id


def test_orphans_are_closed_and_the_living_left_alone(store):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    client = connect(store.uri)
    experiment = client.get_experiment_by_name("trustmm").experiment_id

    def leave(**changes):
        tags = {"job_id": "orphan", "host": socket.gethostname(), "pid": str(gone.pid), **changes}
        return client.create_run(experiment, tags=tags).info.run_id

    dead, alive = leave(), leave(pid=str(os.getpid()))
    rebooted = leave(pid=str(os.getpid()), boot="another boot")  # this number was another process's
    elsewhere, unrelated = leave(host="another"), leave(job_id="other")
    store.close_orphans("orphan")
    assert get(store, dead).info.status == "KILLED"
    assert get(store, rebooted).info.status == "KILLED"
    assert "without a report" in get(store, dead).data.tags["error"]
    assert {get(store, run).info.status for run in (alive, elsewhere, unrelated)} == {"RUNNING"}


@pytest.mark.parametrize(
    "uri",
    ["mlruns", "./mlruns", "file:///tmp/mlruns", "", "sqlite://", "sqlite:///:memory:", "sqlite://a.db", "ftp://x"],
)
def test_a_uri_that_is_no_store_is_refused(uri):
    with pytest.raises(ValueError, match=r"tracking\.uri must be a database file such as sqlite:///mlflow\.db"):
        MLflowTracking(uri=uri, experiment="x")


@pytest.mark.parametrize(
    "uri", ["http://localhost:5000", "https://lab/x", "postgresql+psycopg2://u:p@h/d", "mysql://h/d"]
)
def test_servers_are_accepted_and_choose_their_own_artefact_location(uri):
    assert MLflowTracking(uri=uri, experiment="x")._artifact_location is None


def test_an_empty_experiment_is_refused():
    with pytest.raises(ValueError, match=r"tracking\.experiment must have 1 to 500 characters"):
        MLflowTracking(uri="sqlite:///a.db", experiment=" ")


def test_an_unwritable_folder_is_an_error_that_says_what_to_do(tmp_path):
    (tmp_path / "file").touch()
    store = MLflowTracking(uri=f"sqlite:///{tmp_path}/file/mlflow.db", experiment="x")
    with pytest.raises(TrackingError, match=r"cannot use tracking\.uri=sqlite.*mlflow\.db: .*tracking=none"):
        store.initialise()


def test_an_unreachable_server_breaks_the_start_but_no_job(monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with closing(socket.socket()) as unused:
        unused.bind(("127.0.0.1", 0))
        store = MLflowTracking(uri=f"http://me:secret@127.0.0.1:{unused.getsockname()[1]}", experiment="x")
        with pytest.raises(TrackingError, match=r"http://\*\*\*@127.*tracking=none") as caught:
            store.initialise()
        assert "secret" not in str(caught.value)
        with start(store) as run:
            run.log_metrics({"loss": 1.0})


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("postgresql://user:secret@host/db", "postgresql://***@host/db"),
        ("postgresql://user:sec/ret@host/db", "postgresql://***@host/db"),
        ("postgresql://host/db?user=me&password=secret&x=1", "postgresql://host/db?user=me&password=***&x=1"),
        (
            "trustmm 'tracking.uri=postgresql://u:secret@h/d' seed=0",
            "trustmm 'tracking.uri=postgresql://***@h/d' seed=0",
        ),
        ("sqlite:////home/me@work/mlflow.db", "sqlite:////home/me@work/mlflow.db"),
    ],
)
def test_passwords_are_not_shown(address: str, shown: str):
    assert public(address) == shown


def test_no_tracking_does_nothing(tmp_path):
    tracking = NoTracking(uri="none", experiment="x")
    tracking.initialise()
    assert tracking.parent("s", name="n", tags={}, params={}) is None
    with tracking.run("job", params={}, tags={}) as run:
        run.log_metrics({"a": 1.0}, 1)
        run.set_tags({"a": 1})
        run.log_files(tmp_path / "absent")
        run.log_text("a", "b")
    assert run.run_id is None
    with pytest.raises(ValueError, match="no"), tracking.run("job", params={}, tags={}):
        raise ValueError("no")
    assert tracking.finish_parent(None, "FINISHED", SweepSummary(files={"a.csv": tmp_path / "a.csv"})) is None
    tracking.close_orphans("j")
    assert tracking.find("j") is None


@pytest.mark.parametrize("option", ["mlflow", "none"])
def test_every_option_builds_with_the_same_keys(option):
    config = OmegaConf.to_container(OmegaConf.load(ROOT / "conf" / "tracking" / f"{option}.yaml"))
    module, name = config.pop("_target_").rsplit(".", 1)
    assert set(config) == {"uri", "experiment"}
    getattr(importlib.import_module(module), name)(**config)


def test_importing_the_module_does_not_load_mlflow():
    child = python("import sys, trustmm.tracking.mlflow, trustmm.process.signals; print('mlflow' in sys.modules)")
    assert child.communicate(timeout=60)[0].strip() == "False"


def test_a_run_whose_end_the_launcher_has_seen_is_closed_wherever_it_ran(store):
    client = connect(store.uri)
    experiment = client.get_experiment_by_name("trustmm").experiment_id
    ours, theirs = (
        client.create_run(
            experiment, tags={"job_id": "far", "host": "node17", "pid": "1", "mlflow.parentRunId": parent}
        ).info.run_id
        for parent in ("a" * 32, "b" * 32)
    )
    store.close_orphans("far", status="FAILED", reason="node failed", parent="a" * 32)
    assert (get(store, ours).info.status, get(store, ours).data.tags["error"]) == ("FAILED", "node failed")
    assert get(store, theirs).info.status == "RUNNING"
