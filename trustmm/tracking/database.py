"""A database file of MLflow: found from its address, made whole or not at all."""

import logging
import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from trustmm.store.files import locked, naming, set_aside

log = logging.getLogger(__name__)
_ADDRESS = re.compile(r"sqlite(\+\w+)?:///(?!:memory:)(?P<file>[^?]+)(?P<query>\?.*)?")
_BESIDE = ("", "-wal", "-shm", "-journal")
"""Files of a database."""


class HalfMadeError(ValueError):
    """A database file that an earlier version was making when it was killed."""


def database_file(uri: str) -> Path | None:
    """The file of a sqlite address; None for a server.

    ``%41`` is what it says where such a folder exists, and the letter A otherwise, as in any address; so is a question
    mark, which begins the options of the connection otherwise. Folders below that one may be made later.
    """
    match = _ADDRESS.fullmatch(uri)
    if match is None:
        return None
    query = match["query"] or ""
    whole, file = Path(match["file"] + query), Path(match["file"])
    if "/" in query and _is_there(whole, "?"):
        return whole.absolute()
    literal = file.parent.is_dir() or _is_there(file, "%")
    return file.absolute() if literal else Path(unquote(match["file"])).absolute()


def _is_there(file: Path, sign: str) -> bool:
    """Whether a folder on the way to the file exists that has this sign in its name."""
    return any(sign in folder.name and folder.is_dir() for folder in file.parents)


def has_options(uri: str) -> bool:
    """Whether an address of a file says more than which file: ``sqlite:///a.db?timeout=5``."""
    file, last = database_file(uri), uri.rpartition("/")[2]
    return file is not None and file.name not in (last, unquote(last))


def database_url(file: Path) -> str:
    """The address of a file as SQLAlchemy reads it: relative where that spares quoting, which MLflow half forgets."""
    path = os.path.relpath(file) if re.search(r"[%?]", str(file)) else str(file)
    return "sqlite:///" + path.replace("%", "%25").replace("?", "%3F")


def remove_misread(url: str, file: Path) -> None:
    """Remove the empty folder that MLflow makes for a quoted address, because it does not unquote it."""
    folder = Path(url.removeprefix("sqlite:///")).parent
    while "%" in str(folder) and folder.absolute() != file.parent:
        try:
            folder.rmdir()
        except OSError:
            return
        folder = folder.parent


@contextmanager
def database_lock(file: Path) -> Iterator[None]:
    """Be the only process that makes or changes the database."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with locked(Path(f"{file}.lock")):
        yield


def ensure_database(file: Path) -> None:
    """Make the database if it is not there; the caller holds its lock.

    It is made aside and moved into place: who is killed meanwhile leaves none. A half-made one of an earlier version is
    set aside if no run is in it.

    Raises: HalfMadeError for a half-made one that holds runs; OSError that names the file.
    """
    tables = _tables(file)
    if tables and not _expected() <= tables:
        if "runs" not in tables or not _count_runs(file):
            _drop_beside(file)
            set_aside(file, "its creation was interrupted, and it holds no run")
            tables = frozenset()
        elif "alembic_version" not in tables or any(name.startswith("_alembic_tmp_") for name in tables):
            raise HalfMadeError(
                f"{file} is an MLflow database whose creation or upgrade was interrupted, and it holds runs: restore a "
                "copy, or move it away and repeat the command"
            )
    if not tables:
        with naming(file):
            _make(file)


def _make(file: Path) -> None:
    from mlflow.store.db import utils
    from sqlalchemy import create_engine
    from sqlalchemy.exc import OperationalError

    new = file.with_name(f"{file.name}.partial")  # one name, under the lock: what kills leave does not pile up
    for suffix in _BESIDE:
        Path(f"{new}{suffix}").unlink(missing_ok=True)

    def connection() -> sqlite3.Connection:
        found = sqlite3.connect(new)
        found.execute("PRAGMA synchronous=OFF")  # the file does not count before it is whole
        return found

    try:
        engine = create_engine("sqlite://", creator=connection)
        try:
            utils._initialize_tables(engine)
            _add_default_experiment(engine, file.parent)
        finally:
            engine.dispose()
        with closing(sqlite3.connect(new)) as whole:
            whole.execute("PRAGMA journal_mode=WAL")  # readers beside a writer; the file remembers
        _drop_beside(file)
        os.replace(new, file)
    except (OperationalError, sqlite3.OperationalError) as error:
        raise OSError(f"cannot create the database {file}: {getattr(error, 'orig', error)}") from error
    finally:
        for suffix in _BESIDE:
            Path(f"{new}{suffix}").unlink(missing_ok=True)


def _add_default_experiment(engine: Any, folder: Path) -> None:
    """The experiment that MLflow wants in every database; it would paste the folder's name into SQL, signs and all."""
    from mlflow.store.tracking.dbmodels.models import SqlExperiment
    from sqlalchemy.orm import Session

    with Session(engine) as session, session.begin():
        session.add(SqlExperiment(experiment_id=0, name="Default", artifact_location=(folder / "mlruns/0").as_uri()))


def _drop_beside(file: Path) -> None:
    for suffix in _BESIDE[1:]:
        Path(f"{file}{suffix}").unlink(missing_ok=True)


def _tables(file: Path) -> frozenset[str]:
    """Names of the tables; none where there is no file, or an empty one."""
    if not file.exists() or not file.stat().st_size:
        return frozenset()
    try:
        with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=rw", uri=True)) as connection:
            return frozenset(
                name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type='table'")
            )
    except sqlite3.DatabaseError as error:
        raise HalfMadeError(f"{file} is not a readable database ({error}); move it away") from error


def _expected() -> frozenset[str]:
    """Tables that this version of MLflow uses."""
    from mlflow.store.db.utils import Base

    return frozenset(Base.metadata.tables)


def _count_runs(file: Path) -> int:
    with closing(sqlite3.connect(file)) as connection:
        return int(connection.execute("SELECT count(*) FROM runs").fetchone()[0])
