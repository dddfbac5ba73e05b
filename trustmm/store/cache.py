"""A folder of arrays keyed by content: the key is a hash of everything that determines a value, never a name.

Besides its arrays, an entry records its key and the environment that computed it: on another machine the last digits
may differ, and whoever uses the entry should know.
"""

import json
import logging
import os
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from trustmm.store.digest import digest
from trustmm.store.files import atomic, locked
from trustmm.store.identity import changes, placeless
from trustmm.store.room import evict

log = logging.getLogger(__name__)
Arrays = Mapping[str, NDArray[Any]]
ABOUT = "about.json"
"""Name of an entry's metadata, ``key`` and ``environment``, within the entry."""
_HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


@dataclass(frozen=True)
class Handed:
    """An entry that was given to a job."""

    kind: str
    key: str
    environment: Mapping[str, str]
    """Environment of a process that computed it; an entry that was continued elsewhere is listed once for each."""


def recorded(handed: Sequence[Handed]) -> list[dict[str, Any]]:
    """As plain values, each once."""
    return [asdict(one) for place, one in enumerate(handed) if one not in handed[:place]]


@dataclass
class Cache:
    """Arrays computed once per content, shared by parallel jobs.

    Args:
        folder: holds entries as ``KIND/KEY.npz``; None computes every time.
        limit: largest size of the folder in bytes; the least recently used entries go first. None is no limit.
        environment: environment of this process, recorded with the entries that it computes.
    """

    folder: Path | None
    limit: int | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    handed: list[Handed] = field(default_factory=list, init=False)
    """The entries handed out so far."""

    def arrays(
        self,
        kind: str,
        key: Mapping[str, Any],
        compute: Callable[[], Arrays],
        *,
        before: Callable[[], Sequence[Mapping[str, str]]] = tuple,
    ) -> Arrays:
        """The entry for `key`, computed under a lock if it is missing or damaged.

        Args:
            kind: a word for the log and the folder, such as "prior".
            key: everything that determines the value: inputs by `digest`, options, the code's digest.
            compute: called at most once per content while the entry is kept, whatever the number of processes.
            before: called after `compute` for other environments that took part, such as those of a checkpoint.
        """
        path = self.path(kind, key)
        if path is None:
            return compute()
        found = self._read(kind, path, key)
        if found is None:
            path.parent.mkdir(parents=True, exist_ok=True)
            waits = f"cache: waiting for {kind} {path.stem}, which %s is computing"
            with locked(path.with_suffix(".lock"), holder=f"process {os.getpid()}", on_wait=partial(log.info, waits)):
                found = self._read(kind, path, key)
                if found is None:
                    found = compute()
                    made = {"environment": dict(self.environment), "before": [dict(one) for one in before()]}
                    _write_npz(path, found, {"key": dict(key)} | made)
                    self._hand(kind, path, made)
                    log.info("cache: computed %s %s", kind, path.stem)
                    self._make_room(path)
                    return found
        log.info("cache: reused %s %s", kind, path.stem)
        return found

    def path(self, kind: str, key: Mapping[str, Any]) -> Path | None:
        """The path of the entry for `key`, independent of the modules of its classes; None if nothing is kept."""
        return None if self.folder is None else self.folder / kind / f"{digest(placeless(dict(key)))}.npz"

    def _read(self, kind: str, path: Path, key: Mapping[str, Any]) -> Arrays | None:
        """The stored entry; None if there is none, or if it cannot be used, in which case it is renamed."""
        try:
            entry, about = _read_npz(path)
            os.utime(path)  # the time of its last use
        except FileNotFoundError:
            return None
        except UNUSABLE as error:
            _set_aside(path, f"is damaged ({error})")
            return None
        if why := changes(about["key"], _as_json(key)):
            _set_aside(path, f"belongs to another key ({why})")
            return None
        self._hand(kind, path, about)
        return entry

    def _hand(self, kind: str, path: Path, about: Mapping[str, Any]) -> None:
        for environment in (about["environment"], *about.get("before", ())):
            self.handed.append(Handed(kind, path.stem, environment))

    def _make_room(self, newest: Path) -> None:
        if self.folder is not None and self.limit is not None:
            for path in evict(self.folder, self.limit, keep=newest):
                log.info("cache: removed %s, over the limit of %.3g GB", path, self.limit / 1e9)


UNUSABLE = (ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError)
"""What a damaged archive of arrays raises."""


def _set_aside(path: Path, why: str) -> None:
    aside = path.with_name(f"{path.name}.damaged")
    path.replace(aside)
    log.warning("the cache entry %s %s; it was renamed to %s and is computed again", path, why, aside.name)


def _read_npz(path: Path) -> tuple[Arrays, Mapping[str, Any]]:
    with path.open("rb") as handle:
        _check_sizes(handle, os.fstat(handle.fileno()).st_size)
        handle.seek(0)
        with np.load(handle, allow_pickle=False) as stored:
            entry = {name: stored[name] for name in stored.files}
    about = json.loads(entry.pop(ABOUT).tobytes())
    if not all(isinstance(about.get(name), dict) for name in ("key", "environment")):
        raise ValueError("it does not record its key and environment")
    return entry, about


def _check_sizes(handle: Any, size: int) -> None:
    """Raise ValueError unless every array is as large as its bytes in the file, so that nothing expands on reading."""
    with zipfile.ZipFile(handle) as archive:
        members = archive.infolist()
        packed = [member.filename for member in members if member.compress_type != zipfile.ZIP_STORED]
        declared = sum(member.file_size for member in members)
        if packed or declared > size:
            raise ValueError(f"its arrays claim {declared} bytes, the file has {size}")
        for member in members:
            with archive.open(member) as array:
                version = npy.read_magic(array)
                if version not in _HEADERS:
                    raise ValueError(f"{member.filename} has format {version}")
                shape, _, dtype = _HEADERS[version](array)
                claimed = dtype.itemsize * int(np.prod(shape, dtype=object)) + array.tell()
            if claimed != member.file_size:
                raise ValueError(f"{member.filename} claims {claimed} bytes and has {member.file_size}")


def _write_npz(path: Path, entry: Arrays, about: Mapping[str, Any]) -> None:
    for name, array in entry.items():
        if np.asarray(array).dtype.hasobject:
            raise TypeError(f"cannot keep {name!r}: an array of Python objects would need pickle")
    text = np.frombuffer(json.dumps(about).encode(), dtype=np.uint8)
    with atomic(path) as temporary:
        np.savez(temporary, **entry, **{ABOUT: text})  # type: ignore[arg-type]


def _as_json(key: Mapping[str, Any]) -> dict[str, Any]:
    """A key in the form in which it is read back from an entry."""
    return dict(json.loads(json.dumps(dict(key))))
