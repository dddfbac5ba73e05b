"""The same study in every storage: a journal file, SQLite and a real PostgreSQL."""

import os
import pwd
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.study.test_search import LINE, DyingController, asked, dies_after, hill
from tests.sweep.engines import Jobs
from trustmm.study.options import StudyOptions
from trustmm.study.question import open_study
from trustmm.study.search import run_study
from trustmm.study.space import parse_space
from trustmm.study.storage import address, close_storage, open_storage, redact
from trustmm.study.trials import num_ended

PASSWORD = "s3cret/with:signs"
QUOTED = "s3cret%2Fwith%3Asigns"


def programs() -> Path:
    """The folder of PostgreSQL's programs; Debian keeps them away from the path."""
    folders = [Path(found).resolve().parent for found in (shutil.which("initdb"),) if found]
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    for folder in folders:
        if (folder / "initdb").exists() and (folder / "pg_ctl").exists():
            return folder
    pytest.skip("no PostgreSQL here: apt-get install postgresql")


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a fresh PostgreSQL server on this machine's loopback, run by a user without privileges."""
    pytest.importorskip("psycopg", reason="no psycopg here: pip install 'psycopg[binary]'")
    folder, home = programs(), Path(f"/tmp/trustmm-postgres-{os.getpid()}")
    user = "nobody" if os.getuid() == 0 else pwd.getpwuid(os.getuid()).pw_name
    home.mkdir(mode=0o700)
    (home / "password").write_text(PASSWORD)
    if os.getuid() == 0:
        for path in (home, home / "password"):
            shutil.chown(path, user)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    def run(program: str, *arguments: str) -> None:
        as_user = ["setpriv", f"--reuid={user}", "--clear-groups"] if os.getuid() == 0 else []
        command = [*as_user, str(folder / program), "--pgdata", str(home / "data"), *arguments]
        log = (home / "log").read_text() if (home / "log").exists() else ""
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=120, cwd="/", env={"PATH": "/usr/bin:/bin"}
        )
        assert done.returncode == 0, done.stderr + log

    try:
        run(
            "initdb",
            "--username=study",
            f"--pwfile={home}/password",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--no-sync",
        )
        settings = f"-c listen_addresses=127.0.0.1 -p {port} -c unix_socket_directories='' -c fsync=off"
        run("pg_ctl", "start", "--wait", f"--log={home}/log", "-o", settings)
        try:
            yield f"postgresql+psycopg://study:{QUOTED}@127.0.0.1:{port}/postgres"
        finally:
            run("pg_ctl", "stop", "--mode=immediate")
    finally:
        shutil.rmtree(home)


def interrupted_and_resumed(folder: Path, storage: str | None) -> None:
    """A study of 8 trials whose controller dies after 3."""
    options = StudyOptions(n_trials=8, storage=storage, study_name="small", sampler="random")
    space = parse_space(LINE, [])

    def session(jobs: Jobs) -> None:
        study = open_study(options, space, folder)
        try:
            run_study(study, options, space, folder, jobs, jobs.start)
        finally:
            close_storage(study)

    with pytest.raises(DyingController):
        session(Jobs(folder, dies_after(3)))
    session(Jobs(folder, hill))
    study = open_study(options, space, folder)
    assert num_ended(study.get_trials()) == 8
    resumed = asked(study)
    close_storage(study)
    whole = Jobs(folder / "whole", hill)
    plain = StudyOptions(n_trials=8, sampler="random")
    other = open_study(plain, space, folder / "whole")
    run_study(other, plain, space, folder / "whole", whole, whole.start)
    for one, two in zip(resumed, asked(other), strict=True):
        assert one == pytest.approx(two)


def test_journal_is_the_default_and_lies_in_the_folder(tmp_path: Path) -> None:
    interrupted_and_resumed(tmp_path, None)
    assert (tmp_path / "study.journal").exists()
    assert address(None, tmp_path) == f"{tmp_path}/study.journal"


def test_sqlite(tmp_path: Path) -> None:
    interrupted_and_resumed(tmp_path, f"sqlite:///{tmp_path}/study.db")
    assert not (tmp_path / "study.journal").exists()


@pytest.mark.parametrize("name", ["a b", "a?b", "50%", "%41", "a#b", "a;b", "a,b", "it's", "größe"])
def test_the_study_lies_in_the_file_that_was_named_whatever_its_folder_is_called(name: str, tmp_path: Path) -> None:
    folder = tmp_path / name
    folder.mkdir()
    study = open_study(
        StudyOptions(n_trials=1, storage=f"sqlite:///{folder}/study.db", study_name="s"), parse_space(LINE, []), folder
    )
    close_storage(study)
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.*")] == [f"{name}/study.db"]


def test_options_of_the_connection_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr("optuna.storages.RDBStorage", asked.append)
    for storage in (f"sqlite:///{tmp_path}/study.db?timeout=5", f"sqlite:///{tmp_path}/study.db"):
        open_storage(storage, tmp_path)
        assert asked.pop() == storage


def test_a_server_that_hangs_is_refused_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trustmm.tracking.breaker.CALL_SECONDS", 0.5)
    monkeypatch.setattr("optuna.storages.RDBStorage", lambda storage: threading.Event().wait(60))
    with pytest.raises(ValueError, match="cannot use hydra.sweeper.storage=.*no answer within 0 s") as caught:
        open_storage(f"postgresql+psycopg://study:{QUOTED}@127.0.0.1:1/d", tmp_path)
    assert "s3cret" not in str(caught.value)


def test_a_planted_journal_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "study.journal").symlink_to(tmp_path / "victim")
    with pytest.raises(OSError, match="Too many levels of symbolic links"):
        open_storage(None, tmp_path)
    assert not (tmp_path / "victim").exists()


@pytest.mark.slow
def test_postgresql(postgres: str, tmp_path: Path) -> None:
    interrupted_and_resumed(tmp_path, postgres)


@pytest.mark.slow
def test_refused_password_is_not_repeated(postgres: str, tmp_path: Path) -> None:
    wrong = postgres.replace(QUOTED, "0ther%2Fpass")
    with pytest.raises(ValueError, match="password authentication failed") as caught:
        open_storage(wrong, tmp_path)
    assert "0ther" not in str(caught.value)
    assert caught.value.__suppress_context__


@pytest.mark.parametrize(
    "storage",
    [
        f"postgresql+psycopg://study:{QUOTED}@db.lab/studies",
        f"postgresql+psycopg://study:{PASSWORD}@db.lab/studies",
        f"mysql://db.lab/studies?user=study&password={QUOTED}",
    ],
)
def test_passwords_are_hidden_however_they_are_written(storage: str) -> None:
    shown = address(storage, Path())
    assert "s3cret" not in shown
    assert "db.lab/studies" in shown
    assert "s3cret" not in redact(f"could not connect to {storage} with {PASSWORD}", storage)


def test_address_that_is_none_is_not_repeated_either(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="it must be a database's address, such as sqlite:///study.db") as caught:
        open_storage("study:s3cret", tmp_path)
    assert "s3cret" not in str(caught.value)
