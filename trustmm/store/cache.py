"""A folder of arrays keyed by content: what determines a value is hashed, never named."""

import logging
import os
import zipfile
import zlib
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trustmm.store.digest import digest
from trustmm.store.files import atomic, locked

log = logging.getLogger(__name__)
Arrays = Mapping[str, NDArray[Any]]


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
