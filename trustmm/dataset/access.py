"""Access to the user's files: every error of the operating system is one sentence with the path and the option."""

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def named(key: str, path: Path | str) -> Iterator[None]:
    """Turn an OSError of the block into a ValueError of one line.

    Args:
        key: what the user calls the file, such as ``dataset.root``.
        path: named where the error itself names none.

    Raises: ValueError.
    """
    try:
        yield
    except OSError as error:
        raise ValueError(sentence(error, key, path)) from error


def sentence(error: OSError, key: str, path: Path | str) -> str:
    """The error as one line: path, key and reason."""
    place = path if error.filename is None or isinstance(error.filename, int) else os.fsdecode(error.filename)
    shown = str(place) if len(str(place)) <= 300 else f"{str(place)[:300]}..."
    return f"{shown} ({key}): {' '.join(str(error.strerror or error).split())}"


def is_file(path: Path) -> bool:
    """Whether a regular file is there, links followed.

    Raises: OSError where that cannot be told: no permission, a loop of links, a name too long.
    """
    return _has_mode(path, stat.S_ISREG)


def is_folder(path: Path) -> bool:
    """Whether a folder is there; see `is_file`."""
    return _has_mode(path, stat.S_ISDIR)


def _has_mode(path: Path, test: Callable[[int], bool]) -> bool:
    try:
        return test(path.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except ValueError:  # a zero byte in the name
        return False
