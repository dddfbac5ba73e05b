"""Keeps freed memory with the process.

glibc returns large blocks to the system at once, although the next training step requests the same sizes again. For
LightGCN on Sports, a third of the time went into mapping and clearing pages.
"""

import ctypes
import sys

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
"""Parameters of glibc's mallopt(3)."""
LARGEST_KEPT = 1 << 28
"""Larger blocks, in bytes, are still returned to the system."""


def keep_freed_memory() -> bool:
    """Make glibc keep freed blocks of up to 256 MiB for the next request; returns whether glibc exists and agreed."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    return mallopt is not None and all(
        mallopt(parameter, value) == 1
        for parameter, value in ((MMAP_THRESHOLD, LARGEST_KEPT), (TRIM_THRESHOLD, 2**31 - 1))
    )
