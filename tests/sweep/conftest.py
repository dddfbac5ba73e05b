from collections.abc import Iterator
from multiprocessing import forkserver

import pytest


@pytest.fixture(autouse=True, scope="module")
def _own_fork_server() -> Iterator[None]:
    """Python has one fork server per process; each module of tests starts its own, with its own imports."""
    yield
    forkserver._forkserver._stop()
