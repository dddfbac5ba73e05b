"""Freed memory is used again without being mapped again."""

import platform
import subprocess
import sys

import pytest

SCRIPT = """
import resource, sys
from pathlib import Path
import torch
from trustmm.process.allocator import keep_freed_memory

def mapped_bytes():
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()

if sys.argv[1] == "keep":
    assert keep_freed_memory()
torch.set_num_threads(1)  # others would reserve stacks
torch.ones(1)
before = mapped_bytes()
block = torch.ones(16 << 20)
del block
print(mapped_bytes() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has mallopt")
def test_a_freed_block_stays_mapped() -> None:
    def left_of_64_mib(choice: str) -> int:
        found = subprocess.run([sys.executable, "-c", SCRIPT, choice], capture_output=True, text=True, check=True)
        return int(found.stdout)

    assert left_of_64_mib("leave") < 32 << 20 < left_of_64_mib("keep")
