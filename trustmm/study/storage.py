"""Where a study lives: a journal file in the sweep folder, or a database."""

import logging
import os
import socket
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

from trustmm.store.files import locked
from trustmm.tracking.redact import public, short

JOURNAL = "study.journal"
LEASE_SECONDS = 120.0
"""A controller that has not renewed its lease for so long is dead, wherever it ran."""


def address(storage: str | None, folder: Path) -> str:
    """Where the study is, for people: no user, no password."""
    return str(folder / JOURNAL) if storage is None else redact(public(storage), storage)


def redact(text: str, storage: str) -> str:
    """The text without the passwords of a database's address, however they are written there."""
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        url = make_url(storage)
    except ArgumentError:
        return text.replace(storage, "***")
    in_query = [value for key, value in url.query.items() if "pass" in key and isinstance(value, str)]
    secrets = {str(value) for value in (url.password, *in_query) if value}
    secrets |= {quote_plus(secret) for secret in secrets} | {quote(secret) for secret in secrets}
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, "***")
    return text


def open_storage(storage: str | None, folder: Path) -> Any:
    """Optuna's storage.

    Args:
        storage: a database's address as SQLAlchemy takes it; None for a journal file in the folder.
        folder: of the study.

    Raises: ValueError if the database cannot be used; the message holds no password.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    for chatty in ("alembic", "sqlalchemy.engine"):
        logging.getLogger(chatty).setLevel(logging.CRITICAL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if storage is None:
            from optuna.storages.journal import JournalFileBackend

            _drop_torn_line(folder / JOURNAL)
            return optuna.storages.JournalStorage(JournalFileBackend(str(folder / JOURNAL)))
        try:
            return optuna.storages.RDBStorage(storage)
        except Exception as reason:  # noqa: BLE001 - of whatever library the address named
            raise ValueError(
                f"cannot use hydra.sweeper.storage={address(storage, folder)}: {redact(short(reason), storage)}; it "
                "must be a database's address, such as sqlite:///study.db or postgresql+psycopg://USER:PASSWORD@HOST/NAME"
            ) from None


def close_storage(study: Any) -> None:
    """Close a database's connections; the study is not to be used any more."""
    storage = getattr(study._storage, "_backend", study._storage)  # Optuna wraps databases in a cache
    if hasattr(storage, "engine"):
        storage.remove_session()
        storage.engine.dispose()


def _drop_torn_line(journal: Path) -> None:
    """Cut off what a controller had written of its last line when it was killed: a journal ends with a line break."""
    if not journal.is_file():
        return
    text = journal.read_bytes()
    whole = text.rfind(b"\n") + 1
    if whole < len(text):
        with journal.open("r+b") as handle:
            handle.truncate(whole)


class Lease:
    """A study's one controller, written into its storage.

    Args:
        study: Optuna's study.
    """

    def __init__(self, study: Any) -> None:
        self._study, self._renewed = study, 0.0

    def renew(self) -> None:
        """Say that this controller lives, a few times within the time of a lease."""
        now = time.time()
        if now - self._renewed > LEASE_SECONDS / 4:
            me = {"host": socket.gethostname(), "pid": os.getpid(), "time": now}
            self._study.set_user_attr("controller", me)
            self._renewed = now

    def release(self) -> None:
        """Let the next controller in at once."""
        self._study.set_user_attr("controller", None)


@contextmanager
def leased(study: Any, folder: Path) -> Iterator[Lease]:
    """Be the study's controller while the block runs; ValueError if another one lives."""
    lease = Lease(study)
    with locked(folder / "study.lock"):
        other = study.user_attrs.get("controller")
        if other is not None and _lives(other):
            raise ValueError(
                f"the study {study.study_name!r} has a controller already: process {other['pid']} on {other['host']}; "
                f"wait for it, or end it (a dead one is noticed after {LEASE_SECONDS:.0f} s)"
            )
        lease.renew()
    try:
        yield lease
    finally:
        lease.release()


def _lives(controller: dict[str, Any]) -> bool:
    if time.time() - controller["time"] > LEASE_SECONDS:
        return False
    if controller["host"] != socket.gethostname():
        return True
    try:
        os.kill(controller["pid"], 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return bool(controller["pid"] != os.getpid())
