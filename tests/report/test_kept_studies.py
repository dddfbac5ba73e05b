"""Studies kept in docs/studies can be unpacked and read."""

import re
import tarfile
from pathlib import Path

import pytest

from trustmm.report.runs.read import read_sweeps

ROOT = Path(__file__).resolve().parents[2]
KEPT = sorted((ROOT / "docs" / "studies").glob("*.tar.xz"))


@pytest.mark.parametrize("archive", KEPT, ids=[path.name for path in KEPT])
def test_a_kept_study_has_the_jobs_that_its_page_counts(archive: Path, tmp_path: Path) -> None:
    name = archive.name.removesuffix(".tar.xz")
    with tarfile.open(archive) as file:
        file.extractall(tmp_path, filter="data")
    runs = read_sweeps([tmp_path / name])
    page = (ROOT / "docs" / "studies.md").read_text(encoding="utf-8")
    counted = re.search(rf"^\| `{name}` \| (\d+) of \d+ \|", page, re.MULTILINE)
    assert counted is not None
    assert len(runs.table) == int(counted[1])
    assert not runs.failures
