"""``trustmm``: one command. A word that names a command runs it; everything else describes a job for Hydra."""

import contextlib
import importlib
import os
import signal
import sys
from typing import NamedTuple

from trustmm import __version__
from trustmm.process.signals import GOES_ON, INTERRUPTED


class Command(NamedTuple):
    """A command and what it does."""

    module: str
    """Where its ``main`` lives; it reads ``sys.argv``."""
    about: str
    alone: bool = False
    """Whether no word may follow."""
    slow: bool = False
    """Whether it loads libraries for seconds before it can say anything."""


COMMANDS = {
    "run": Command("trustmm.cli.run", "run one job, or a sweep with -m (the default command)"),
    "rectify": Command(
        "trustmm.cli.rectify", "write a data set folder with rectified features and lists of suspects", slow=True
    ),
    "describe": Command(
        "trustmm.cli.describe", "show what a data set holds: sizes, degrees, feature health", slow=True
    ),
    "prepare": Command(
        "trustmm.cli.prepare", "turn your own reviews, texts and images into a data set folder", slow=True
    ),
    "report": Command(
        "trustmm.cli.report", "write tables, figures, statistics and claims from finished jobs", slow=True
    ),
    "cache": Command("trustmm.cli.cache", "list what the cache holds, or remove entries"),
    "recommend": Command("trustmm.cli.recommend", "write the best items of every user, from a finished job", slow=True),
    "winner": Command("trustmm.cli.winner", "save the best values of a finished study as an experiment", slow=True),
    "demo": Command("trustmm.cli.demo", "answer the main question on built-in data, in minutes", slow=True),
    "templates": Command(
        "trustmm.cli.templates", "list the ready-made studies: question, size and command of each", alone=True
    ),
    "ui": Command("trustmm.cli.ui", "browse all runs in MLflow, on this machine only"),
    "doctor": Command(
        "trustmm.cli.doctor", "check this machine: what it has, what is missing, what to do", slow=True, alone=True
    ),
    "quick-report": Command(
        "trustmm.cli.quick_report", "run all quick studies on built-in data, and report on them", slow=True, alone=True
    ),
}
HELP = """\
Which multimodal recommender can you trust when product images, texts or clicks are wrong, and does a repair help?

  trustmm [KEY=VALUE ...]           one job: trustmm backbone=mgcn corruption.eta=0.2 rectifier=mr
  trustmm -m [KEY=V1,V2 ...]        a sweep: trustmm -m corruption.eta=0,0.2 rectifier=none,mr seed=0,1,2
  trustmm COMMAND [--help]          {commands}
  trustmm run --help                groups, their options, and every key with its default
  trustmm --cfg job [KEY=VALUE ...] the options that a job would have
  trustmm --version

`python -m trustmm` is the same command.
"""


def entry() -> None:
    """The command as a process: `main`, after which Ctrl-C has nothing to interrupt but the interpreter's own end.

    An interrupted command ends at once: `python -m` would end by the signal, whatever the status, if Ctrl-C had come
    within an `exec`, as in the making of a dataclass; and half-loaded libraries print things as they go.
    """
    try:
        main()
    except SystemExit as end:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        if end.code == INTERRUPTED:
            for stream in (sys.stdout, sys.stderr):
                with contextlib.suppress(OSError):  # whoever read it was interrupted, too
                    stream.flush()
            os._exit(INTERRUPTED)
        raise
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def main() -> None:
    """Run the command that the first word names, or the job that all words describe."""
    words = sys.argv[1:]
    if words[:1] in (["--help"], ["-h"], ["help"]):
        sys.stdout.write(help_text())
        return
    if words[:1] == ["--version"]:
        sys.stdout.write(f"trustmm {__version__}\n")
        return
    name = words[0] if words and words[0] in COMMANDS else "run"
    if words[:1] == [name]:
        sys.argv[1:] = words = words[1:]
    command = COMMANDS[name]
    if command.alone and words:
        _refuse(name, words)
    if command.slow:
        sys.stderr.write(f"trustmm {name}: {command.about}\n")
        sys.stderr.flush()
    try:
        from trustmm.cli.ending import one_sentence

        with one_sentence():
            importlib.import_module(command.module).main()
    except KeyboardInterrupt:  # within the first imports
        sys.stderr.write(f"trustmm: interrupted; {GOES_ON}\n")
        raise SystemExit(INTERRUPTED) from None


def _refuse(name: str, words: list[str]) -> None:
    """End a command to which words were given that it would ignore; --help says what it does."""
    if words in (["--help"], ["-h"]):
        sys.stdout.write(f"trustmm {name}: {COMMANDS[name].about}\n")
        raise SystemExit(0)
    sys.stderr.write(f"trustmm: {name} takes no further words, got {' '.join(words)}\n")
    raise SystemExit(1)


def help_text() -> str:
    """What can be typed."""
    indent = "\n" + " " * 36
    commands = indent.join(f"{name:13} {command.about}" for name, command in COMMANDS.items())
    return HELP.format(commands=commands)
