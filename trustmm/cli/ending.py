"""How a command ends: one sentence and an exit status, whatever went wrong outside the program."""

import errno
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import NoReturn

from trustmm.process.signals import GOES_ON, INTERRUPTED, Terminated
from trustmm.tracking.redact import public

_PATH_KEYS = {"output_dir": "outputs", "cache_dir": "outputs/cache"}
"""Options that are folders, with their defaults."""
_HINTS = dict.fromkeys((errno.ENOSPC, errno.EDQUOT), "; make room and repeat the command")


def leave(message: str, status: int = 1) -> NoReturn:
    """Say why on standard error, and end."""
    sys.stderr.write(f"trustmm: {public(message)}\n")
    raise SystemExit(status)


@contextmanager
def one_sentence() -> Iterator[None]:
    """Interruptions, and errors of files and memory, as one line instead of a traceback."""
    try:
        yield
    except KeyboardInterrupt:
        leave(f"interrupted; {GOES_ON}", status=INTERRUPTED)
    except Terminated:
        leave(f"terminated; {GOES_ON}", status=143)
    except BrokenPipeError:  # whoever read our output has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None
    except OSError as error:
        leave(file_sentence(error, sys.argv[1:]))
    except (MemoryError, RuntimeError) as error:
        if not ran_out_of_memory(error):
            raise
        leave(f"out of memory: {' '.join(str(error).split())[:300]}")


def ran_out_of_memory(error: BaseException) -> bool:
    """Whether memory of the machine or of a GPU did not suffice, whichever library noticed it."""
    text = str(error)
    return isinstance(error, MemoryError) or "can't allocate memory" in text or "out of memory" in text


def file_sentence(error: OSError, words: Sequence[str]) -> str:
    """What the system refused, of which file, and which option names its folder."""
    reason = error.strerror or str(error) or type(error).__name__
    hint = _HINTS.get(error.errno or 0, "")
    if error.filename is None:
        folder = next((word for word in words if word.startswith(("output_dir=", "--out="))), "output_dir=outputs")
        return f"the system says: {reason}; files go to {folder}{hint}" if hint else f"the system says: {reason}"
    path = os.fsdecode(error.filename) if isinstance(error.filename, bytes | str) else str(error.filename)
    shown = path if len(path) <= 200 else f"{path[:200]}..."
    key = option_of(path, words)
    return f"{f'{key}: ' if key else ''}cannot use {shown}: {reason}{hint}"


def option_of(path: str, words: Sequence[str]) -> str:
    """The option or argument of a command line that holds this path; empty if none does."""
    pairs = [word.lstrip("+").partition("=") for word in words if "=" in word]
    typed = {key: value.strip("'\"") for key, _, value in pairs if value}
    typed |= {flag: value for flag, value in pairwise(words) if flag.startswith("--") and not value.startswith("-")}
    folders = {**_PATH_KEYS, **typed, **{word: word for word in words if "=" not in word and not word.startswith("-")}}
    if "output_dir" in typed and "cache_dir" not in typed:
        del folders["cache_dir"]
    found = [key for key, folder in folders.items() if _holds(folder, path)]
    found = found or [key for key, folder in typed.items() if _holds(path, folder)]  # a folder on the way there
    return max(found, key=lambda key: len(folders[key]), default="")


def _holds(folder: str, path: str) -> bool:
    outer, inner = (Path(one.rpartition("sqlite:///")[2]).expanduser().absolute() for one in (folder, path))
    return outer in (inner, *inner.parents)
