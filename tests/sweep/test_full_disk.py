"""A disk that is full in the middle of a sweep, and has room again: a small file system of the test's own."""

import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

COMMAND = (
    *("-m", "trustmm", "-m", "dataset.num_users=60", "dataset.num_items=40", "dataset.num_interactions=400"),
    *("training.epochs=3", "backbone=bpr", "seed=0,1", "hydra.launcher.n_workers=1"),
)
SCRIPT = """
mount -t tmpfs -o size=1500k none disk || exit 77
cd disk
"$@" > ../said 2>&1
echo $? > ../first
mount -o remount,size=500m none .
"$@" > ../said_later 2>&1
echo $? > ../second
cp -r . ../kept
"""


@pytest.mark.slow
def test_a_sweep_names_the_full_disk_and_goes_on_when_there_is_room(tmp_path: Path) -> None:
    """Of 1500 kB the database and the first job leave nothing for the second one's result."""
    (tmp_path / "disk").mkdir()
    names = ["--mount"] if os.geteuid() == 0 else ["--user", "--map-root-user", "--mount"]
    command = ["unshare", *names, "sh", "-c", SCRIPT, "sh", sys.executable, *COMMAND]
    if shutil.which("unshare") is None or subprocess.run(command, cwd=tmp_path, check=False).returncode in (1, 77):
        pytest.skip("no file system of one's own can be mounted here")
    said = (tmp_path / "said").read_text()
    assert (tmp_path / "first").read_text() == "1\n", said
    assert "Traceback" not in said
    assert "left no result" not in said
    assert "disk is full" in said or "No space left on device" in said or "is the disk full?" in said
    assert (tmp_path / "second").read_text() == "0\n", (tmp_path / "said_later").read_text()
    assert len(list(tmp_path.glob("kept/outputs/*/result.json"))) == 2
    with closing(sqlite3.connect(tmp_path / "kept" / "mlflow.db")) as database:
        assert database.execute("select count(*) from runs where status = 'RUNNING'").fetchone() == (0,)
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
