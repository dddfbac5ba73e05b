"""A folder of arrays keyed by content: what determines a value is hashed, never named."""

import fcntl
import hashlib
import json
import logging
import os
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

log = logging.getLogger(__name__)
Arrays = Mapping[str, NDArray[Any]]


def digest(value: Any) -> str:
    """Hash of a nested value of mappings, sequences, scalars and arrays: 32 hexadecimal digits.

    Arrays count with dtype, shape and bytes; mappings without their order.

    Raises: TypeError for any other type, so that nothing is hashed by its address.
    """
    state = hashlib.blake2b(digest_size=16)
    _feed(state, value)
    return state.hexdigest()


def _feed(state: Any, value: Any) -> None:
    if isinstance(value, np.ndarray) and not value.dtype.hasobject:
        state.update(f"array {value.dtype.str} {value.shape} ".encode())
        state.update(np.ascontiguousarray(value).data)
    elif isinstance(value, Mapping):
        state.update(f"mapping {len(value)} ".encode())
        for key in sorted(value):
            _feed(state, key)
            _feed(state, value[key])
    elif isinstance(value, list | tuple):
        state.update(f"sequence {len(value)} ".encode())
        for element in value:
            _feed(state, element)
    elif value is None or isinstance(value, bool | int | float | str):
        state.update(json.dumps([type(value).__name__, value]).encode())
    else:
        raise TypeError(f"cannot hash a {type(value).__name__} by content")


class Cache:
    """Arrays computed once per content, shared by parallel jobs.

    Args:
        folder: where entries live as ``KIND/KEY.npz``; None computes every time.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder

    def arrays(self, kind: str, key: Mapping[str, Any], compute: Callable[[], Arrays]) -> Arrays:
        """The entry for `key`, computed under a lock if nobody has it yet.

        Args:
            kind: a word for the log and the folder, such as "prior".
            key: everything that determines the value: inputs by `digest`, options, the code's digest.
            compute: called at most once per content, whatever the number of processes.
        """
        path = self.path(kind, key)
        if path is None:
            return compute()
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            waits = f"cache: waiting for {kind} {path.stem}, which %s computes"
            with locked(path.with_suffix(".lock"), holder=f"process {os.getpid()}", on_wait=partial(log.info, waits)):
                if not path.exists():
                    entry = compute()
                    _write_npz(path, entry)
                    log.info("cache: computed %s %s", kind, path.stem)
                    return entry
        log.info("cache: reused %s %s", kind, path.stem)
        return _read_npz(path)

    def path(self, kind: str, key: Mapping[str, Any]) -> Path | None:
        """Where the entry for `key` is or will be; None where nothing is kept."""
        return None if self.folder is None else self.folder / kind / f"{digest(dict(key))}.npz"


@contextmanager
def locked(path: Path, *, holder: str = "", on_wait: Callable[[str], None] | None = None) -> Iterator[None]:
    """Hold the lock file at `path`, waiting for whoever has it; the lock ends with its process, however that dies.

    Args:
        path: the file, created if absent.
        holder: who we are, for those who wait.
        on_wait: told who has the lock, if somebody has.
    """
    with path.open("a+", encoding="utf-8") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            handle.seek(0)
            if on_wait is not None:
                on_wait(handle.read() or "another process")
            fcntl.flock(handle, fcntl.LOCK_EX)
        handle.truncate(0)
        handle.write(holder)
        handle.flush()
        yield


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that takes its place when the block ends, and vanishes when it fails."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=path.suffix)
    os.close(handle)
    try:
        yield Path(name)
        os.chmod(name, 0o644)
        os.replace(name, path)
    finally:
        Path(name).unlink(missing_ok=True)


def _read_npz(path: Path) -> Arrays:
    try:
        with path.open("rb") as handle, np.load(handle, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    except (ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"the cache entry {path} is damaged; delete it and it is computed again") from error


def _write_npz(path: Path, entry: Arrays) -> None:
    for name, array in entry.items():
        if np.asarray(array).dtype.hasobject:
            raise TypeError(f"cannot keep {name!r}: an array of Python objects would need pickle")
    with atomic(path) as temporary:
        np.savez(temporary, **entry)  # type: ignore[arg-type]
