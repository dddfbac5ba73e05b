"""Whether the process that left a mark is alive. Its number alone is not enough, since numbers are reused."""

import os
import socket
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any


def mark() -> dict[str, str]:
    """This process: host, boot of the host, number, and start time in ticks since the boot."""
    pid = os.getpid()
    return {"host": socket.gethostname(), "boot": _boot(), "pid": str(pid), "started": _started(pid) or ""}


def is_dead(found: Mapping[str, Any]) -> bool:
    """Whether the process of a `mark` has certainly ended; nothing is known about processes on other hosts.

    A mark of an earlier version has only host and pid, and is judged by these.
    """
    pid = str(found.get("pid", ""))
    if found.get("host") != socket.gethostname() or not pid.isdigit():
        return False
    if found.get("boot") and _boot() and found["boot"] != _boot():
        return True
    try:
        os.kill(int(pid), 0)
    except (ProcessLookupError, OverflowError):
        return True
    except PermissionError:
        pass
    started = _started(int(pid))
    return bool(found.get("started") and started and found["started"] != started)


@cache
def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _started(pid: int) -> str | None:
    """Field 22 of ``/proc/PID/stat``; field 2, the name, may contain blanks and parentheses."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return None
