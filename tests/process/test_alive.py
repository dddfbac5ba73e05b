"""Whether the process that left a mark lives."""

import os
import subprocess
import sys

import pytest

from trustmm.process.alive import is_dead, mark


def test_the_living_are_known_by_number_start_and_boot() -> None:
    assert not is_dead(mark())
    assert not is_dead({"host": mark()["host"], "pid": str(os.getpid())}), "a mark of an earlier version"


@pytest.mark.parametrize(
    "change", [{"boot": "another boot"}, {"started": "1"}, {"pid": "99999999999999999999"}, {"pid": str(2**22 + 5)}]
)
def test_a_number_given_again_is_another_process(change: dict[str, str]) -> None:
    assert is_dead(mark() | change)


def test_the_dead_are_dead_and_of_other_hosts_nothing_is_known() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    assert is_dead(mark() | {"pid": str(child.pid)})
    assert not is_dead(mark() | {"host": "elsewhere", "pid": str(child.pid)})
    assert not is_dead({})
