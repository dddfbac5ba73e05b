"""The script for a machine with a GPU runs, on the CPU."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[1] / "benchmarks" / "gpu.py"
OPTIONS = "--device cpu --data tiny --backbones bpr pop --together bpr --jobs 2 --seconds 0.1".split()


@pytest.mark.slow
def test_the_script_prints_its_tables() -> None:
    done = subprocess.run([sys.executable, SCRIPT, *OPTIONS], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    rows = [line.split(" | ") for line in done.stdout.splitlines() if line.startswith(("| bpr", "| pop", "| 2"))]
    assert [row[0] for row in rows] == ["| bpr", "| pop", "| 2"]
    assert float(rows[0][2]) > 0
    assert float(rows[2][3].rstrip(" |")) > 0
    assert "- bpr on tiny: " in done.stdout
