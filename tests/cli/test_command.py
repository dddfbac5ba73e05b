import errno
import importlib
import os
import subprocess
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace

import pytest

from trustmm import __version__
from trustmm.cli.command import COMMANDS, help_text, main
from trustmm.process.signals import GOES_ON

ROOT = Path(__file__).resolve().parents[2]


def trustmm(*words: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "trustmm", *words], cwd=folder, capture_output=True, text=True)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_a_main(name: str) -> None:
    assert callable(importlib.import_module(COMMANDS[name].module).main)


def test_help_names_every_command_and_version_is_one_line(tmp_path: Path) -> None:
    shown = trustmm("--help", folder=tmp_path)
    assert (shown.returncode, shown.stdout) == (0, help_text())
    assert all(f" {name} " in shown.stdout for name in COMMANDS)
    assert trustmm("--version", folder=tmp_path).stdout == f"trustmm {__version__}\n"


@pytest.mark.parametrize("name", [name for name in COMMANDS if name not in ("run", "rectify")])
def test_every_command_explains_itself_and_refuses_words_that_it_does_not_know(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(subprocess, "run", lambda *command, **options: pytest.fail(f"{command} was started"))
    for words, status in ((["--help"], 0), (["--nope=1"], (1, 2))):
        monkeypatch.setattr(sys, "argv", ["trustmm", name, *words])
        with pytest.raises(SystemExit) as end:
            main()
        assert end.value.code in (status if isinstance(status, tuple) else (status,))
        said = capsys.readouterr()
        assert name in said.out if status == 0 else said.err


@pytest.mark.parametrize("name", COMMANDS)
def test_a_full_disk_is_one_line_of_every_command(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full() -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "there/x")

    monkeypatch.setattr(importlib.import_module(COMMANDS[name].module), "main", full)
    monkeypatch.setattr(sys, "argv", ["trustmm", name])
    with pytest.raises(SystemExit, match="1"):
        main()
    assert capsys.readouterr().err.splitlines()[-1] == (
        "trustmm: cannot use there/x: No space left on device; make room and repeat the command"
    )


def test_a_command_reads_the_words_behind_its_name(tmp_path: Path) -> None:
    refused = trustmm("report", "nothing", "--out", "there", folder=tmp_path)
    assert refused.returncode == 1
    assert refused.stderr.splitlines()[1].startswith("trustmm: ")
    assert "backbone:" in trustmm("run", "--cfg", "job", folder=tmp_path).stdout


@pytest.mark.parametrize(
    ("module", "heavy"),
    [
        ("trustmm.report.runs.read", "torch"),
        ("trustmm.cli.report", "torch"),
        ("trustmm.cli.command", "hydra"),
        ("trustmm.cli.command", "torch"),
    ],
)
def test_import_stays_light(module: str, heavy: str) -> None:
    code = f"import sys, {module}; print({heavy!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"


@pytest.mark.parametrize("name", [name for name in COMMANDS if COMMANDS[name].slow])
def test_a_command_that_loads_for_long_says_first_what_it_does(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said = []
    module = SimpleNamespace(main=lambda: None)
    monkeypatch.setattr(importlib, "import_module", lambda path: said.append(capsys.readouterr().err) or module)
    monkeypatch.setattr(sys, "argv", ["trustmm", name])
    main()
    assert said == [f"trustmm {name}: {COMMANDS[name].about}\n"]


def test_commands_that_say_nothing_first_load_nothing_slow() -> None:
    quick = [command.module for command in COMMANDS.values() if not command.slow]
    code = f"import sys, {', '.join(quick)}; print(sorted({{'torch', 'pandas', 'scipy', 'mlflow'}} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"


def test_a_job_says_what_it_is_before_it_loads_what_takes_long(tmp_path: Path) -> None:
    code = (
        "import logging, sys; sys.argv = ['trustmm', 'seed=7', 'backbone=bpr']\n"
        "from trustmm.cli.run import main\n"
        "def show(record):\n"
        "    print(record.getMessage(), sorted({'torch', 'mlflow', 'scipy'} & set(sys.modules)))\n"
        "    raise SystemExit\n"
        "logging.StreamHandler.emit = lambda handler, record: show(record)\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.endswith("edit=none seed=7: checking options and data []\n")


def test_ctrl_c_while_the_interpreter_ends_is_no_traceback(tmp_path: Path) -> None:
    ending = "import atexit, signal; atexit.register(lambda: signal.raise_signal(signal.SIGINT))"
    code = f"{ending}; import sys; sys.argv = ['trustmm', '--version']; from trustmm.cli.command import entry; entry()"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_nothing_is_imported_before_ctrl_c_can_be_caught() -> None:
    code = "import sys; before = {*sys.modules}; import trustmm; print(*({*sys.modules} - before))"
    command = [sys.executable, "-S", "-c", code]
    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert done.stdout == "trustmm\n"


def test_ctrl_c_within_the_first_imports_is_one_line(tmp_path: Path) -> None:
    code = """
import sys
class Interrupted:
    def find_spec(self, name, *rest):
        if name == "trustmm.cli":
            raise KeyboardInterrupt
sys.meta_path.insert(0, Interrupted())
import trustmm.__main__
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (130, f"trustmm: interrupted; {GOES_ON}\n")


@pytest.mark.parametrize("reader", [True, False], ids=["read", "nobody reads"])
def test_ctrl_c_within_an_exec_leaves_the_status_of_an_interruption(reader: bool, tmp_path: Path) -> None:
    code = """
import trustmm.cli.command as command
def interrupted():
    try:
        print("a result")
        exec("raise KeyboardInterrupt")  # as in the making of a dataclass; python -m then ends by the signal
    except KeyboardInterrupt:
        raise SystemExit(130) from None
command.main = interrupted
command.entry()
"""
    (tmp_path / "interrupted.py").write_text(code)
    end, pipe = os.pipe()
    if not reader:
        os.close(end)
    command = [sys.executable, "-m", "interrupted"]
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    done = subprocess.run(command, cwd=tmp_path, env=buffered, stdout=pipe, stderr=subprocess.PIPE, text=True)
    os.close(pipe)
    assert (done.returncode, done.stderr) == (130, "")
    if reader:
        with os.fdopen(end) as printed:
            assert printed.read() == "a result\n"


def test_both_ways_to_type_the_command_are_the_one_that_catches_it() -> None:
    with (ROOT / "pyproject.toml").open("rb") as project:
        assert tomllib.load(project)["project"]["scripts"] == {"trustmm": "trustmm.__main__:entry"}
