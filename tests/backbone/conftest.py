"""Where the numerical oracles lie."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

PROJECT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def oracle_folder() -> Path:
    """TRUSTMM_ORACLES, else ../shared/oracles beside the project."""
    folder = Path(os.environ.get("TRUSTMM_ORACLES") or PROJECT.parent / "shared" / "oracles")
    if not (folder / "inputs.npz").is_file():
        pytest.skip(f"no oracles in {folder}; set TRUSTMM_ORACLES to the folder that holds inputs.npz")
    return folder


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    """These problems are tiny; threads would only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
