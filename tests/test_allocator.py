"""Freed memory is used again without being mapped again."""

import platform
import subprocess
import sys

import pytest

SCRIPT = """
import resource, sys
import torch
from trustmm.allocator import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
for _ in range(3):
    torch.ones(4 << 20).add(1)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    torch.ones(4 << 20).add(1)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has mallopt")
def test_blocks_of_a_training_step_are_mapped_once() -> None:
    def page_faults(choice: str) -> int:
        found = subprocess.run([sys.executable, "-c", SCRIPT, choice], capture_output=True, text=True, check=True)
        return int(found.stdout)

    assert 4 * page_faults("keep") < page_faults("leave")  # the system may take a few pages back by itself
