"""What is released works in a clean environment, from any directory: sdist, wheel, editable install, image."""

import json
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from fnmatch import fnmatch
from pathlib import Path

import pytest
import yaml

import trustmm
from trustmm.cli.command import COMMANDS


@pytest.fixture(scope="module", params=["sdist", "editable"])
def python(request: pytest.FixtureRequest, project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Python of an environment that has trustmm installed and borrows the dependencies of this one."""
    home = tmp_path_factory.mktemp(request.param)
    venv.create(home, with_pip=True)
    python = home / "bin" / "python"
    packages = run(python, "import sysconfig; print(sysconfig.get_path('purelib'))").strip()
    Path(packages, "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    if request.param == "sdist":  # pip makes a wheel of it
        built = [sys.executable, "-m", "build", "--sdist", "--no-isolation", "--outdir", home, project]
        subprocess.run(built, check=True, capture_output=True, text=True)
        source = [str(home / f"trustmm-{trustmm.__version__}.tar.gz")]
    else:
        source = ["--editable", str(project)]
    install = [python, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", *source]
    subprocess.run(install, check=True, capture_output=True, text=True)
    return python


def run(python: Path, code: str, cwd: Path | None = None) -> str:
    return subprocess.run([python, "-c", code], check=True, capture_output=True, text=True, cwd=cwd).stdout


@pytest.mark.slow
def test_installed_package_runs_a_job_from_any_directory(python: Path, tmp_path: Path) -> None:
    tiny = ["dataset.num_users=60", "dataset.num_items=40", "dataset.num_interactions=400", "training.epochs=2"]
    command = [python, "-m", "trustmm", "tracking=none", *tiny]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith("test recall@10=0.")
    assert (tmp_path / "outputs").is_dir()


@pytest.mark.slow
def test_installed_package_brings_its_launchers(python: Path, tmp_path: Path) -> None:
    command = [python, "-m", "trustmm", "--cfg", "hydra", "-p", "hydra.launcher._target_"]
    shown = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert shown.stdout.strip() == "hydra_plugins.trustmm_pool.PoolLauncher", shown.stderr
    assert run(python, "import hydra_plugins; print(hydra_plugins.__file__)", tmp_path).strip() == "None"


@pytest.mark.slow
def test_installed_package_finds_its_own_configuration(
    python: Path, project: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    code = "import trustmm, trustmm.options.config as c; print(trustmm.__file__, c.config_folder())"
    package, folder = run(python, code, tmp_path).split()
    inside = request.node.callspec.params["python"] == "sdist"
    assert (Path(package).parent.parent == project) is not inside
    assert Path(folder) == (Path(package).parent / "conf" if inside else project / "conf")


@pytest.mark.slow
def test_installed_package_has_its_command_and_its_templates(python: Path, tmp_path: Path) -> None:
    command = [python.parent / "trustmm", "templates"]
    shown = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=True).stdout
    words = re.findall(r"--config-dir (\S+) --config-name (quick_table2_clean)$", shown, re.MULTILINE)[0]
    for place in (["--config-dir", words[0]], [f"--config-dir={words[0]}"]):
        command = [python, "-m", "trustmm", *place, "--config-name", words[1], "--cfg", "job"]
        composed = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
        assert yaml.safe_load(composed.stdout)["training"]["epochs"] == 40, composed.stderr


# The image.


def instructions(project: Path) -> list[tuple[str, str]]:
    text = (project / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    return re.findall(r"^([A-Z]+) (.*)$", text, re.MULTILINE)


@pytest.mark.slow
def test_the_image_copies_what_a_wheel_needs(project: Path, tmp_path: Path) -> None:
    ignored = (project / ".dockerignore").read_text(encoding="utf-8").split()
    copied = [name for order, words in instructions(project) if order == "COPY" for name in words.split()[:-1]]
    assert sorted(f"!{name}" for name in copied) == sorted(line for line in ignored if line.startswith("!"))
    for name in copied:
        path = project / name
        if path.is_dir():
            shutil.copytree(
                path, tmp_path / name, ignore=lambda _, found: [one for one in found if fnmatch(one, "__py*")]
            )
        else:
            shutil.copy(path, tmp_path / name)
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", tmp_path / "dist", tmp_path]
    subprocess.run(command, check=True, capture_output=True, text=True)
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    for folder, inside in (("trustmm", "trustmm"), ("conf", "trustmm/conf"), ("hydra_plugins", "hydra_plugins")):
        files = {path.relative_to(project / folder) for path in (project / folder).rglob("*.[py]*") if path.is_file()}
        assert {f"{inside}/{path}" for path in files if "__pycache__" not in path.parts} <= names


def test_the_image_runs_the_demo_as_an_ordinary_user(project: Path) -> None:
    found = instructions(project)
    last = dict(found)
    assert json.loads(last["ENTRYPOINT"]) == ["trustmm"]
    assert json.loads(last["CMD"])[0] in COMMANDS
    assert last["USER"] not in ("root", "0")
    assert [order for order, _ in found if order == "USER"] == ["USER"]
    assert "--no-cache-dir" in last["RUN"]
    needed = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))["project"]["requires-python"]
    assert last["FROM"] == f"python:{needed.removeprefix('>=')}-slim"


def test_every_file_that_names_the_version_names_the_same(project: Path) -> None:
    cited = yaml.safe_load((project / "CITATION.cff").read_text(encoding="utf-8"))
    assert cited["version"] == trustmm.__version__
    changes = (project / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.findall(r"^## (\S+)", changes, re.MULTILINE)[0] == trustmm.__version__
    assert str(cited["date-released"]) in changes.splitlines()[1]
