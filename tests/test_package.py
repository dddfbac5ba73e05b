"""The wheel and an editable install work in a clean environment, from any directory."""

import subprocess
import sysconfig
import venv
from pathlib import Path

import pytest


@pytest.fixture(scope="module", params=["wheel", "editable"])
def python(request: pytest.FixtureRequest, project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Python of an environment that has trustmm installed and borrows the dependencies of this one."""
    home = tmp_path_factory.mktemp(request.param)
    venv.create(home, with_pip=True)
    python = home / "bin" / "python"
    packages = run(python, "import sysconfig; print(sysconfig.get_path('purelib'))").strip()
    Path(packages, "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    source = [str(project)] if request.param == "wheel" else ["--editable", str(project)]
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
    inside = request.node.callspec.params["python"] == "wheel"
    assert (Path(package).parent.parent == project) is not inside
    assert Path(folder) == (Path(package).parent / "conf" if inside else project / "conf")
