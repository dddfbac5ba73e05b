"""What a result says of the machine that made it."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from trustmm.run.environment import cpu_model, environment

CPUINFO = """processor\t: 0
cpu family\t: 6
model\t\t: 143
model name\t: Intel(R) Xeon(R) Platinum 8480C
stepping\t: 8

processor\t: 1
model name\t: another
"""


def test_every_fact_is_known() -> None:
    facts = environment(torch.device("cpu"))
    assert [name for name, value in facts.items() if not value or value in ("unknown", "none")] == []
    assert {"cpu", "capability", "numpy_simd", "blas", "threads", "torch", "numpy", "torch_scatter", "host"} <= set(
        facts
    )


def test_processor_is_read_where_python_does_not_know_it(tmp_path: Path) -> None:
    path = tmp_path / "cpuinfo"
    path.write_text(CPUINFO)
    assert cpu_model(path) == "Intel(R) Xeon(R) Platinum 8480C (6/143/8)"
    assert cpu_model(tmp_path / "absent")


def facts_under(**variables: str) -> str:
    code = "import torch; from trustmm.run.environment import environment as e; print(e(torch.device('cpu')))"
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ | variables).stdout


def test_kernels_and_threads_that_move_a_digit_are_told_apart() -> None:
    plain = facts_under(OMP_NUM_THREADS="1", OPENBLAS_CORETYPE="Nehalem")
    if "openblas" not in plain or platform.machine() != "x86_64":
        pytest.skip("only OpenBLAS on x86 chooses its kernels by OPENBLAS_CORETYPE")
    assert "Nehalem 1 thread'" in plain
    assert plain != facts_under(OMP_NUM_THREADS="1", OPENBLAS_CORETYPE="Haswell")
    assert plain == facts_under(OMP_NUM_THREADS="1", OPENBLAS_CORETYPE="Nehalem")
    assert plain != facts_under(OMP_NUM_THREADS="1", OPENBLAS_CORETYPE="Nehalem", ATEN_CPU_CAPABILITY="default")


def test_every_value_is_a_plain_string_so_that_checkpoints_can_be_read_without_pickle() -> None:
    assert {type(value) for value in environment(torch.device("cpu")).values()} == {str}
