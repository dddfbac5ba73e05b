"""Threads are said before anything that computes is loaded, and held after."""

import json
import os
import subprocess
import sys

import pytest

from trustmm.process.threads import VARIABLES

HEAVY = ("numpy", "torch", "scipy", "pandas", "mlflow", "hydra")
COUNT = """
import json, os, sys
{first}
import numpy, torch
from threadpoolctl import threadpool_info
from trustmm.process.threads import {names}
{then}
blas = [one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas"]
print(json.dumps([torch.get_num_threads(), sorted(set(blas))]))
"""


def python(code: str, **environment: str) -> str:
    free = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=free | environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("module", ["trustmm.process.threads", "trustmm.cli.slurm_job"])
def test_what_says_the_threads_has_loaded_nothing_that_counts_them(module: str) -> None:
    code = f"import sys, {module}; print([name for name in {HEAVY} if name in sys.modules])"
    assert python(code) == "[]\n"


SLURM = """
import json, os, sys
from pathlib import Path
loaded = {}
class Watch:
    def find_spec(self, name, path=None, target=None):
        if name in %r:
            loaded.setdefault(name, os.environ.get("OPENBLAS_NUM_THREADS"))
sys.meta_path.insert(0, Watch())
from trustmm.cli.slurm_job import main
try:
    main(Path("nowhere.json"))
except FileNotFoundError:
    pass
import numpy, torch
print(json.dumps(loaded))
"""


def test_slurm_job_says_them_first(tmp_path) -> None:  # type: ignore[no-untyped-def]
    loaded = json.loads(python(SLURM % (HEAVY,), SLURM_CPUS_PER_TASK="1"))
    assert loaded["numpy"] == loaded["torch"] == "1"
    assert set(loaded.values()) == {"1"}


def test_announced_threads_are_those_of_torch_and_blas() -> None:
    first = "from trustmm.process.threads import announce; announce(1)"
    assert json.loads(python(COUNT.format(first=first, names="bound", then=""))) == [1, [1]]


def test_bound_holds_what_was_loaded_too_late() -> None:
    found = python(COUNT.format(first="", names="bound", then="bound(1)"), OMP_NUM_THREADS="2")
    assert json.loads(found) == [1, [1]]
