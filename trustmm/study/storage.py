"""Where a study lives: a journal file in the sweep folder, or a database."""

import json
import logging
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

from trustmm.process.alive import is_dead, mark
from trustmm.store.files import locked, refuse_link, set_aside
from trustmm.tracking.breaker import breaker_of
from trustmm.tracking.database import database_file, database_url, has_options
from trustmm.tracking.redact import public, short

log = logging.getLogger(__name__)
JOURNAL = "study.journal"
LEASE_SECONDS = 120.0
"""A controller that has not renewed its lease for so long is dead, wherever it ran."""


def address(storage: str | None, folder: Path) -> str:
    """Where the study is, for people: no user, no password."""
    return str(folder / JOURNAL) if storage is None else redact(public(storage), storage)


def redact(text: str, storage: str) -> str:
    """The text without the passwords of a database's address, in every form in which they can be written."""
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

            refuse_link(folder / JOURNAL)  # Optuna opens it with `open`, which would follow it
            _drop_torn_line(folder / JOURNAL)
            return optuna.storages.JournalStorage(JournalFileBackend(str(folder / JOURNAL)))
        try:
            return _open_database(storage)
        except Exception as reason:  # noqa: BLE001 - of whatever library the address named
            raise ValueError(
                f"cannot use hydra.sweeper.storage={address(storage, folder)}: {redact(short(reason), storage)}; it "
                "must be a database's address, such as sqlite:///study.db or postgresql+psycopg://USER:PASSWORD@HOST/NAME"
            ) from None


def _open_database(storage: str) -> Any:
    """A database file whatever its folder is called, or a server, in the time that one has to answer."""
    from optuna.storages import RDBStorage

    file = database_file(storage)
    if file is not None:
        return RDBStorage(storage if has_options(storage) else database_url(file))
    return breaker_of(storage).call(lambda: RDBStorage(storage), last=True)


def close_storage(study: Any) -> None:
    """Close a database's connections; the study is not to be used any more."""
    storage = getattr(study._storage, "_backend", study._storage)  # Optuna wraps databases in a cache
    if hasattr(storage, "engine"):
        storage.remove_session()
        storage.engine.dispose()


def _drop_torn_line(journal: Path) -> None:
    """Cut off what a controller had written of its last line when it was killed: a journal ends with a line break.

    A journal with a damaged line before that is set aside: the study begins anew, and its finished jobs are reused.
    """
    if not journal.is_file():
        return
    text = journal.read_bytes()
    for number, line in enumerate(text[: text.rfind(b"\n") + 1].splitlines(), 1):
        try:
            fine = isinstance(json.loads(line), dict) and "op_code" in json.loads(line)
        except ValueError:
            fine = False
        if not fine:
            set_aside(journal, f"line {number} is not a journal entry")
            return
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
            me = {**mark(), "time": now}
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
                f"the study {study.study_name!r} already has a controller: process {other['pid']} on {other['host']}; "
                f"wait for it, or stop it (a dead one is noticed after {LEASE_SECONDS:.0f} s)"
            )
        lease.renew()
    ended = threading.Event()
    beat = threading.Thread(target=_keep_renewing, args=(lease, ended), daemon=True, name="lease")
    beat.start()
    try:
        yield lease
    finally:
        ended.set()
        beat.join()
        lease.release()


def _keep_renewing(lease: Lease, ended: threading.Event) -> None:
    """Whatever the engine waits for, the controller lives."""
    while not ended.wait(LEASE_SECONDS / 4):
        try:
            lease.renew()
        except Exception as error:  # noqa: BLE001 - of the storage; the next time it may work
            log.debug("the lease could not be renewed: %s", short(error))


def _lives(controller: dict[str, Any]) -> bool:
    if time.time() - controller["time"] > LEASE_SECONDS:
        return False
    return not is_dead(controller) and (controller["host"], str(controller["pid"])) != (mark()["host"], mark()["pid"])
