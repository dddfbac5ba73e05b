"""A folder that appears whole or not at all."""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from trustmm.dataset.access import named, sentence
from trustmm.dataset.layout import is_plain
from trustmm.store.files import open_no_link, refuse_link


@dataclass(frozen=True)
class Workshop:
    """Where a folder is made before it gets its name."""

    folder: Path
    """Empty at first; takes the final name when the block ends well."""
    cache: Path
    """What an interrupted run left for the next one; goes when the folder is finished."""


def check_new(out: Path, key: str) -> None:
    """Raise ValueError unless `out` can become a new data set folder."""
    if not is_plain(out.name):
        raise ValueError(f"{key} must end with a plain folder name such as toys, got {str(out)!r}")
    with named(key, out):
        try:
            out.lstat()
        except (FileNotFoundError, NotADirectoryError):
            return
        raise ValueError(f"{key}={out} already exists and is not overwritten; choose another name or remove it")


@contextmanager
def new_folder(out: Path, key: str) -> Iterator[Workshop]:
    """Make `out` atomically, in the hidden folder ``.NAME.preparing`` beside it.

    Args:
        out: the folder to be; must not exist.
        key: what the user calls it, for messages.

    Raises: ValueError if it exists, another process is making it, or it cannot be written.
    """
    check_new(out, key)
    place = out.parent / f".{out.name}.preparing"
    try:
        yield from _made(out, key, place)
    except OSError as error:
        if error.filename is not None and not Path(os.fsdecode(error.filename)).is_relative_to(place):
            raise
        raise ValueError(sentence(error, key, out)) from error


def _made(out: Path, key: str, place: Path) -> Iterator[Workshop]:
    with named(key, out):
        place.mkdir(parents=True, exist_ok=True)
    refuse_link(place)  # in a folder that others may write to, it could lead anywhere
    with open_no_link(place / "lock", "a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(f"{key}={out} is being prepared by another process") from None
        workshop = Workshop(place / "folder", place / "cache")
        shutil.rmtree(workshop.folder, ignore_errors=True)
        workshop.folder.mkdir()
        yield workshop
        check_new(out, key)
        os.rename(workshop.folder, out)
        shutil.rmtree(place)
