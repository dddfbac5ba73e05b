"""Files that several processes share: locks that end with their holder, and writes that are complete or absent.

No file is opened through a symbolic link: in a folder that others may write to, a link could lead anywhere.
"""

import errno
import fcntl
import json
import logging
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

log = logging.getLogger(__name__)
DAMAGED = ".damaged"
"""Suffix for a file that could not be read and was renamed."""


def open_no_link(path: Path, mode: str) -> IO[Any]:
    """`open`, but with an OSError for a symbolic link; a new file gets the permissions that the umask leaves."""

    def opener(name: str, flags: int) -> int:
        return os.open(name, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)

    return open(path, mode, encoding=None if "b" in mode else "utf-8", opener=opener)


def refuse_link(path: Path) -> None:
    """OSError for a symbolic link where a library is going to write with `open`, which would follow it."""
    if path.is_symlink():
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))


@contextmanager
def locked(path: Path, *, holder: str = "", on_wait: Callable[[str], None] | None = None) -> Iterator[None]:
    """Hold the lock file at `path`, after waiting for its holder; the lock ends with its process, however that dies.

    Args:
        path: the file, created if absent.
        holder: name of this process, for those that wait.
        on_wait: called with the holder's name if the lock is taken.
    """
    with open_no_link(path, "a+") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            handle.seek(0)
            if on_wait is not None:
                on_wait(handle.read() or "another process")
            fcntl.flock(handle, fcntl.LOCK_EX)
        os.ftruncate(handle.fileno(), 0)
        with suppress(OSError):  # on a full disk, a lock works without its holder's name
            os.write(handle.fileno(), holder.encode())
        yield


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that replaces it when the block ends, and is removed when the block fails.

    Raises: OSError that names `path`, such as "No space left on device".
    """
    with naming(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.stem[:100]}-{secrets.token_hex(4)}{path.suffix}")
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o666))
        try:
            yield temporary
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Add `path` to an OSError without a file name: a full disk is reported without one."""
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno is not None:
            raise OSError(error.errno, os.strerror(error.errno), str(path)) from error
        raise


def read_json(path: Path, is_valid: Callable[[Any], bool]) -> Any | None:
    """The values of one of trustmm's own files; None if it is missing or damaged. A damaged file is renamed.

    Args:
        path: the file.
        is_valid: whether the values have the expected form.
    """
    try:
        plain = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (ValueError, RecursionError) as error:
        set_aside(path, "empty" if not path.stat().st_size else f"invalid JSON: {error}")
        return None
    if not is_valid(plain):
        set_aside(path, "unexpected content")
        return None
    return plain


def set_aside(path: Path, why: str) -> None:
    """Rename an unusable file to ``NAME.damaged`` and log this in one line; the file will be written again."""
    aside = path.with_name(path.name + DAMAGED)
    os.replace(path, aside)
    log.warning("%s is damaged (%s): renamed to %s and written again", path, why, aside.name)
