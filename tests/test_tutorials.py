"""Tutorials run from the first cell to the last in a folder of their own, and show what their prose says."""

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
TUTORIALS = sorted((ROOT / "docs" / "tutorials").glob("*.py"))


@pytest.fixture(scope="module")
def runner() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_notebook", ROOT / "docs" / "notebook.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module", params=TUTORIALS, ids=[path.stem for path in TUTORIALS])
def tutorial(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, Any]]:
    """The name of a tutorial and its notebook: from the built site in TRUSTMM_TUTORIALS, or run now."""
    if made := os.environ.get("TRUSTMM_TUTORIALS"):
        return request.param.stem, json.loads((ROOT / made / f"{request.param.stem}.ipynb").read_text(encoding="utf-8"))
    path, folder = request.param, tmp_path_factory.mktemp(request.param.stem)
    command = [sys.executable, str(ROOT / "docs" / "notebook.py"), str(path)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return path.stem, json.loads(done.stdout)


def said(notebook: dict[str, Any]) -> str:
    """All that the cells printed."""
    return "".join(output.get("text", "") for cell in notebook["cells"] for output in cell.get("outputs", []))


def check_own_data(text: str) -> None:
    popular, freedom = map(float, re.findall(r"popularity (0\.\d+), FREEDOM (0\.\d+)", text)[0])
    assert freedom > popular
    assert text.count("recommended: ") == 3


def check_robustness(text: str) -> None:
    rows = {row[0]: row[1:] for row in re.findall(r"backbone=(\w+)" + r" \| (0\.\d+)[^|]*" * 3, text)}
    assert len(set(rows["lightgcn"])) == 1
    clean, some, most = map(float, rows["freedom"])
    assert clean > some > most
    assert most < float(rows["lightgcn"][0]) < clean


def check_repair(text: str) -> None:
    eta, found = (float(re.findall(pattern, text)[0]) for pattern in (r"features: (0\.\d+)", r"most, (\d+) are"))
    assert eta == pytest.approx(0.2, abs=0.06)
    assert found >= 65
    wrong, right = map(float, re.findall(r"trust: +wrong (\d\.\d+), right (\d\.\d+)", text)[0])
    before, moved = map(float, re.findall(r"mr: +wrong (\d\.\d+), right (\d\.\d+)", text)[0])
    assert wrong > before
    assert right > 0.98 > moved


def check_tuning(text: str) -> None:
    trials = {name: re.findall(rf"^{name} +0\.\d+ (.*)$", text, re.MULTILINE) for name in ("none", "mr")}
    assert len(trials["none"]) == 4
    assert sorted(trials["none"]) == sorted(trials["mr"])  # the same points of the same space, best first
    low, high = map(float, re.findall(r"interval \[([+-]\S+), ([+-]\S+)\]", text)[0])
    assert low < high


def check_backbone(text: str) -> None:
    assert "did you mean backbone.width" in text
    rows = {row[0]: [*map(float, row[1:])] for row in re.findall(r"backbone=(\w+)" + r" \| (0\.\d+)[^|]*" * 2, text)}
    assert rows["bpr"][0] == rows["bpr"][1]
    assert rows["addition"][0] > rows["bpr"][0] > rows["addition"][1]


@pytest.mark.slow
def test_a_tutorial_runs_alone_and_shows_what_it_says(tutorial: tuple[str, dict[str, Any]]) -> None:
    name, notebook = tutorial
    globals()[f"check_{name}"](said(notebook))


@pytest.mark.slow
def test_its_page_has_every_output(tutorial: tuple[str, dict[str, Any]], runner: ModuleType) -> None:
    _, notebook = tutorial
    page = runner.page(notebook)
    assert page.startswith("# ")
    assert page.count("data:image/png") == sum(
        "image/png" in output.get("data", {}) for cell in notebook["cells"] for output in cell.get("outputs", [])
    )


def test_cells_show_prints_values_and_figures_as_jupyter_does(runner: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "small.py"
    path.write_text(
        "# %% [markdown]\n# # A\n#\n# b\n\n# %%\nx = 2\nprint(x)\nx + 1\n\n# %%\nx\n_ = 0\n\n# %%\n"
        "import matplotlib.pyplot as plt\n_ = plt.subplots(figsize=(1, 1))\n"
    )
    notebook = runner.run(path)
    assert [cell["cell_type"] for cell in notebook["cells"]] == ["markdown", *["code"] * 3]
    page = runner.page(notebook)
    assert page.startswith(
        "# A\n\nb\n\n```python\nx = 2\nprint(x)\nx + 1\n```\n\n```text\n2\n```\n\n```text\n3\n```\n\n"
    )
    assert "_ = 0\n```\n\n```python\nimport" in page
    assert page.count("](data:image/png;base64,") == 1
