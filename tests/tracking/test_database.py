"""MLflow's database file: whole or not there, wherever it lies."""

import logging
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from tests.odd import ALL_SIGNS, SIGNS
from trustmm.tracking.database import HalfMadeError, database_file, database_url, ensure_database, has_options
from trustmm.tracking.mlflow import MLflowTracking, TrackingError
from trustmm.tracking.mlflow_run import connect, load, quiet

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A fresh database."""
    load()
    file = tmp_path_factory.mktemp("made") / "mlflow.db"
    with quiet():
        ensure_database(file)
    assert sorted(path.name for path in file.parent.iterdir()) == ["mlflow.db"]
    return file.read_bytes()


def publish(typed: str) -> None:
    """One run with one file."""
    tracking = MLflowTracking(uri=typed, experiment="x")
    tracking.initialise()
    with tracking.run("job", params={}, tags={"job_id": "j"}) as run:
        run.log_text("here", "a.txt")


def forget(monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow keeps a store and an engine for each address; a relative one is another file in another folder."""
    from mlflow.tracking._tracking_service.registry import TrackingStoreRegistry

    connect.cache_clear()
    TrackingStoreRegistry._get_store_with_resolved_uri.cache_clear()
    monkeypatch.setattr("mlflow.store.tracking.sqlalchemy_store.SqlAlchemyStore._engine_map", {})


@pytest.mark.parametrize("absolute", [False, True])
@pytest.mark.parametrize("name", [*SIGNS, ALL_SIGNS])
def test_runs_go_into_the_file_beside_us_whatever_the_folder_is_called(
    name: str, absolute: bool, made: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / name
    folder.mkdir()
    (folder / "mlflow.db").write_bytes(made)
    monkeypatch.chdir(tmp_path if absolute else folder)
    forget(monkeypatch)
    typed = f"sqlite:///{folder}/mlflow.db" if absolute else "sqlite:///mlflow.db"
    assert database_file(typed) == folder / "mlflow.db"
    assert database_file(f"sqlite:///{folder}/made/later.db") == folder / "made" / "later.db"
    publish(typed)
    with closing(sqlite3.connect(folder / "mlflow.db")) as database:
        assert database.execute("SELECT status FROM runs").fetchall() == [("FINISHED",)]
    assert [path.read_text() for path in folder.rglob("a.txt")] == ["here"]
    assert {path.name for path in tmp_path.iterdir()} == {name}


KILLED = """
import os, sys
from pathlib import Path
from trustmm.tracking.database import ensure_database
from mlflow.store.db import utils

def cut_off(engine):
    utils.InitialBase.metadata.create_all(engine)
    os._exit(9)

utils._initialize_tables = cut_off
ensure_database(Path(sys.argv[1]))
"""


def test_a_controller_killed_while_it_makes_the_database_leaves_none(tmp_path: Path) -> None:
    file = tmp_path / "mlflow.db"
    killed = subprocess.run([sys.executable, "-c", KILLED, str(file)], capture_output=True, text=True)
    assert killed.returncode == 9, killed.stderr
    assert not file.exists()
    tracking = MLflowTracking(uri=f"sqlite:///{file}", experiment="x")
    tracking.initialise()
    assert tracking.parent("s", name="s", tags={}, params={})
    assert not list(tmp_path.glob("*.partial*"))


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_what_interrupts_the_making_leaves_nothing(
    error: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with quiet():
        from mlflow.store.db import utils

    def interrupted(engine):
        raise error

    monkeypatch.setattr(utils, "_initialize_tables", interrupted)
    with pytest.raises(type(error)):
        ensure_database(tmp_path / "mlflow.db")
    assert list(tmp_path.iterdir()) == []


def half_made(file: Path, *, with_runs: bool) -> None:
    with closing(sqlite3.connect(file)) as database, database:
        database.execute("CREATE TABLE experiments (experiment_id INTEGER)")
        database.execute("CREATE TABLE runs (run_uuid TEXT)")
        database.execute("CREATE TABLE _alembic_tmp_tags (key TEXT)")
        if with_runs:
            database.execute("INSERT INTO runs VALUES ('a')")


def test_a_half_made_one_without_runs_is_set_aside(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "mlflow.db"
    half_made(file, with_runs=False)
    with caplog.at_level(logging.WARNING):
        MLflowTracking(uri=f"sqlite:///{file}", experiment="x").initialise()
    assert f"{file} is damaged (its creation was interrupted, and it holds no run)" in caplog.text
    assert file.with_name("mlflow.db.damaged").exists()


@pytest.mark.parametrize("text", [None, b"garbage" * 1000])
def test_one_that_cannot_be_used_is_named_and_kept(text: bytes | None, tmp_path: Path) -> None:
    file = tmp_path / "mlflow.db"
    if text is None:
        half_made(file, with_runs=True)
    else:
        file.write_bytes(text)
    before = file.read_bytes()
    with pytest.raises(TrackingError, match=r"cannot use tracking\.uri=.*mlflow\.db") as caught:
        MLflowTracking(uri=f"sqlite:///{file}", experiment="x").initialise()
    assert isinstance(caught.value.__cause__, HalfMadeError)
    assert "\n" not in str(caught.value)
    assert file.read_bytes() == before


def test_an_address_is_quoted_only_where_it_must_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert database_url(tmp_path / "a.db") == f"sqlite:///{tmp_path}/a.db"
    assert database_url(tmp_path / "?" / "a.db") == "sqlite:///%3F/a.db"
    assert database_file("http://host") is None


def test_a_question_mark_is_part_of_a_folder_that_is_there(tmp_path: Path) -> None:
    (tmp_path / "a?b").mkdir()
    plain = {f"sqlite:///{tmp_path}/{name}/x.db": name for name in ("a?b", "a%3Fb", ".")}
    for uri, name in plain.items():
        file = tmp_path / name.replace("%3F", "?") / "x.db"
        assert (database_file(uri), has_options(uri)) == (file, False)
    for uri in (f"sqlite:///{tmp_path}/x.db?timeout=5", f"sqlite:///{tmp_path}/x.db?vfs=/no/such"):
        assert (database_file(uri), has_options(uri)) == (tmp_path / "x.db", True)
        with pytest.raises(ValueError, match=r"tracking\.uri must be a database file"):
            MLflowTracking(uri=uri, experiment="x")
