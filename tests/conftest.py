import os
import signal
import threading
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parent.parent
settings.register_profile("trustmm", derandomize=True, deadline=None)
settings.load_profile("trustmm")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch loads: several workers share the cores


def pytest_configure() -> None:
    """Let Ctrl-C reach the commands under test: a shell that starts the tests in the background has it ignored."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def project() -> Path:
    """The checkout under test."""
    return ROOT


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of the real data sets."""
    folder = Path(os.environ.get("TRUSTMM_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}; set TRUSTMM_DATA")
    return folder


@pytest.fixture(scope="session")
def oracle_folder() -> Path:
    """Numbers of a reference implementation: TRUSTMM_ORACLES, else ../shared/oracles, else those in the repository."""
    given = os.environ.get("TRUSTMM_ORACLES")
    if given and not (Path(given) / "inputs.npz").is_file():
        pytest.fail(f"TRUSTMM_ORACLES is {given}, where there is no inputs.npz")
    beside = ROOT.parent / "shared" / "oracles"
    return Path(given) if given else beside if (beside / "inputs.npz").is_file() else ROOT / "tests" / "oracles"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--rewrite-golden", action="store_true", help="write tests/golden anew instead of comparing")
