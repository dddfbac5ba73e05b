"""Freed memory stays with the process.

glibc gives large blocks back to the system at once, and a training step asks for the same sizes again: of LightGCN's
time on Sports a third went into mapping and clearing pages.
"""

import ctypes
import sys

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
"""Parameters of glibc's mallopt(3)."""
LARGEST_KEPT = 1 << 28
"""Blocks of more bytes still go back to the system."""


def keep_freed_memory() -> bool:
    """Let glibc keep freed blocks of up to 256 MiB for the next request; whether it is there and agreed."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    return mallopt is not None and all(
        mallopt(parameter, value) == 1
        for parameter, value in ((MMAP_THRESHOLD, LARGEST_KEPT), (TRIM_THRESHOLD, 2**31 - 1))
    )
