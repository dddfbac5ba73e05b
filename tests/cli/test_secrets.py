"""A password on the command line or in a YAML file is nowhere to be found afterwards."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.processes import descendants

TINY = ("dataset.num_users=60", "dataset.num_items=40", "dataset.num_interactions=400", "rectifier.k=5")
SHORT = ("training.epochs=3", "prior.epochs=3", "rectifier.projection.epochs=2", "backbone=bpr")
TYPED, WRITTEN, STORED = "s3cr3tTyped", "s3cr3tInYaml", "s3cr3tOfStudy"
SECRETS = (TYPED, WRITTEN, STORED)


def watch(*words: str, cwd: Path) -> tuple[int, str]:
    """Exit status of a command, and all it said, with the command lines of its children."""
    with (cwd.parent / "said").open("w+") as said:
        command = subprocess.Popen([sys.executable, "-m", "trustmm", *words], cwd=cwd, stdout=said, stderr=said)
        titles = set()
        while command.poll() is None:
            for pid in descendants(command.pid):
                try:
                    titles.add(Path(f"/proc/{pid}/cmdline").read_bytes())
                except OSError:
                    continue
            time.sleep(0.1)
        said.seek(0)
        return command.returncode, said.read() + str(titles)


def leaks(folder: Path) -> list[str]:
    """Files, names included, that hold a secret."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return [str(path) for path in files for secret in SECRETS if secret.encode() in path.read_bytes() + bytes(path)]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A working directory with a template that holds a secret."""
    folder = tmp_path / "work"
    (folder / "mine").mkdir(parents=True)
    return folder


def template(folder: Path) -> tuple[str, ...]:
    """A secret in YAML, outside of the folder that is searched afterwards."""
    (folder.parent / "mine").mkdir(exist_ok=True)
    text = f"# @package _global_\ndefaults: [config, _self_]\nhydra: {{job: {{env_set: {{A: 'http://u:{WRITTEN}@h/'}}}}}}\n"
    (folder.parent / "mine" / "own.yaml").write_text(text)
    return ("--config-dir", str(folder.parent / "mine"), "--config-name", "own")


def test_no_file_artefact_log_line_or_process_title_of_a_sweep_holds_a_secret(place: Path) -> None:
    typed = f"+hydra.job.env_set.B='http://user:{TYPED}@host/?token={TYPED}'"
    status, said = watch("-m", *template(place), *TINY, *SHORT, typed, "seed=0,1", cwd=place)
    assert status == 0, said
    assert len(list(place.glob("outputs/*/result.json"))) == 2
    assert list(place.glob("mlartifacts/**/multirun.yaml")), "the folder of the sweep is an artefact"
    assert not [secret for secret in SECRETS if secret in said]
    assert leaks(place) == []


@pytest.mark.parametrize(
    "words",
    [
        ("tracking=none", f"tracking.uri='http://u:{TYPED}@h'", *TINY, *SHORT, "corruption.eta=1.7"),
        ("-m", "tracking=none", f"tracking.uri='http://u:{TYPED}@h','http://u:{STORED}@h'", *TINY, *SHORT),
        ("-m", f"tracking.uri='postgresql://u:{TYPED}@127.0.0.1:1/d'", *TINY, *SHORT, "seed=0,1"),
        (f"tracking.uri='mssql+pyodbc:///?odbc_connect=DRIVER=x;UID=u;PWD={TYPED}'", *TINY, *SHORT),
        ("-m", "hydra/sweeper=trustmm_optuna", f"hydra.sweeper.storage='postgresql+psycopg://u:{STORED}@127.0.0.1:1/d'")
        + (*TINY, *SHORT, "tracking=none", "rectifier.lam=interval(0,1)"),
        (f"tracking.url='http://u:{TYPED}@h'",),
        (f"tracking.uri=http://u:{TYPED}@h/[",),
    ],
    ids=["mistake", "choice", "server", "odbc", "study", "wrong key", "wrong grammar"],
)
def test_mistakes_and_servers_that_are_away_keep_the_secret_too(words: tuple[str, ...], place: Path) -> None:
    _, said = watch(*words, cwd=place)
    assert not [secret for secret in SECRETS if secret in said], said
    assert leaks(place) == []
    assert "Traceback" not in said
    assert "Error executing job with overrides" not in said


def test_what_slurm_is_told_is_a_file_without_the_secret(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from hydra import compose, initialize_config_dir

    from trustmm.cli.pages import job_page, sweep_page
    from trustmm.cli.words import enter
    from trustmm.options.config import config_folder, register
    from trustmm.sweep.plan import Sweep
    from trustmm.sweep.worker import work
    from trustmm.tracking.redact import resolve_secrets

    monkeypatch.chdir(place)
    uri = f"tracking.uri='http://u:{TYPED}@h'"
    monkeypatch.setattr(sys, "argv", ["trustmm", "tracking=none", uri, *TINY, *SHORT])
    register()
    resolve_secrets()
    enter()
    assert TYPED not in str(sys.argv)

    def composed(words):
        with initialize_config_dir(version_base="1.3", config_dir=str(config_folder())):
            return compose("config", overrides=list(words), return_hydra_config=True)

    sweep = Sweep(composed, place / "outputs" / "sweeps" / "x", sweep_page)
    (task,) = sweep.prepare([sys.argv[1:]])
    assert TYPED not in sweep.assignment(task).to_json()
    assert work(sweep.assignment(task), job_page).status == "FINISHED"
    assert leaks(place) == []
    for name in [name for name in os.environ if name.startswith("TRUSTMM_SECRET_")]:
        del os.environ[name]
