"""docs/adding.md makes a package of methods; this makes it, tests it, sweeps it and reports it."""

import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from trustmm.store import plugins


@pytest.fixture(scope="module")
def page(project: Path) -> str:
    return (project / "docs" / "adding.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def shop(page: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the package of the page."""
    folder = tmp_path_factory.mktemp("adding")
    for text in re.findall(r"```(?:python|yaml|toml)\n(.*?)```", page, re.DOTALL):
        path = folder / text.splitlines()[0].removeprefix("# ")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    (folder / "myshop" / "__init__.py").write_text("", encoding="utf-8")
    return folder


def run(shop: Path, project: Path, command: str, **more: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": f"{shop}:{project}", "TRUSTMM_PLUGINS": "myshop"} | more
    words = ["-m", *shlex.split(command.removeprefix("python -m "))]
    if "outputs/sweeps/*" in words:
        place = words.index("outputs/sweeps/*")
        words[place : place + 1] = [str(found) for found in sorted((shop / "outputs" / "sweeps").iterdir())]
    return subprocess.run([sys.executable, *words], cwd=shop, env=environment, capture_output=True, text=True)


@pytest.mark.slow
def test_every_command_of_the_page_works(page: str, shop: Path, project: Path) -> None:
    commands = re.search(r"```sh\n(.*?)```", page, re.DOTALL)
    assert commands is not None
    for command in commands[1].strip().splitlines()[1:]:
        done = run(shop, project, command)
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    report = (shop / "report" / "report.md").read_text(encoding="utf-8")
    assert all(word in report for word in ("factors", "centred", "drop_rare", "clipped", "flipped", "stripes"))
    assert (shop / "repaired" / "stripes" / "image_feat.npy").is_file()


def test_code_of_a_plugin_is_part_of_the_identity(shop: Path, project: Path, tmp_path: Path) -> None:
    words = "python -m trustmm dataset=stripes backbone=factors training.epochs=1 tracking=none"
    source, found = shop / "myshop" / "backbone.py", []
    text = source.read_text(encoding="utf-8")
    for scale in ("0.1", "0.1", "0.2"):
        source.write_text(text.replace("scale=0.1", f"scale={scale}"), encoding="utf-8")
        done = run(shop, project, f"{words} output_dir={tmp_path}")
        assert done.returncode == 0, done.stderr
        found.append(done.stdout.split("result=")[1])
    source.write_text(text, encoding="utf-8")
    assert found[0] == found[1] != found[2]


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("backbone=factors", "factors"),
        ("backbone._target_=myshop.backbone.Factors", "must be a class in trustmm or torch.optim"),
        ("corruption.kind=myshop.functions.flipped", "the path of a function in a plugin, got"),
    ],
)
def test_nothing_of_a_package_that_is_no_plugin_is_used(shop: Path, project: Path, word: str, message: str) -> None:
    done = run(shop, project, f"python -m trustmm tracking=none {word}", TRUSTMM_PLUGINS="")
    assert done.returncode == 1
    assert message in done.stderr


def test_an_installed_entry_point_makes_a_package_a_plugin(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    points = tomllib.loads((shop / "pyproject.toml").read_text(encoding="utf-8"))["project"]["entry-points"]
    (group,) = points
    installed = shop / "installed" / "myshop-1.0.dist-info"  # what pip leaves of it, besides the package
    installed.mkdir(parents=True)
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: myshop\nVersion: 1.0\n", encoding="utf-8")
    lines = [f"[{group}]", *(f"{name} = {value}" for name, value in points[group].items())]
    (installed / "entry_points.txt").write_text("\n".join(lines), encoding="utf-8")
    monkeypatch.delenv("TRUSTMM_PLUGINS", raising=False)
    monkeypatch.syspath_prepend(str(shop))
    plugins._packages.cache_clear()
    assert "myshop" not in plugins.packages()
    monkeypatch.syspath_prepend(str(installed.parent))
    plugins._packages.cache_clear()
    assert "myshop" in plugins.packages()
    assert shop / "myshop" / "conf" in plugins.conf_folders()
    assert plugins.names_plugin("myshop.functions.flipped")
    monkeypatch.undo()
    plugins._packages.cache_clear()


def test_a_plugin_that_is_not_there_is_named(shop: Path, project: Path) -> None:
    done = run(shop, project, "python -m trustmm tracking=none", TRUSTMM_PLUGINS="nowhere")
    assert "the plugin nowhere" in done.stderr
