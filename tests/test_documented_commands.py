"""Every command that a page shows is one that can be typed: jobs compose and build, other commands read their words."""

import argparse
import importlib
import re
import shlex
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra._internal.utils import get_args_parser
from hydra.core.plugins import Plugins

from trustmm.cli.command import COMMANDS
from trustmm.options.config import TEMPLATES, config_folder, register, template_folder
from trustmm.run.cell import build_stages
from trustmm.study.space import parse_space

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
PAGES += sorted((ROOT / "docs" / "tutorials").glob("*.py"))
RUN_ELSEWHERE = {"adding.md"}
"""Pages whose commands need what the page itself makes, and whose own test runs them."""
MADE_BEFORE = {
    r"experiment=tuned/\S*": "dataset=sports_attr",  # python -m trustmm winner writes it
    r"dataset=folder(?!.*dataset\.name)": "dataset=folder dataset.name=mine",  # dataset.json has it
}
"""Options that a command before this one makes, and what stands for them here."""
START = re.compile(r"(?:\w+=\S+ )*(?:(?:\.venv/bin/)?python3? (?:-m (?:trustmm|pytest)|\w+/)|trustmm |make )")
SHELL = ("", "bash", "sh")


def commands(page: Path) -> Iterator[str]:
    """Commands of this project in blocks of shell and in code within a line."""
    text = page.read_text(encoding="utf-8")
    if page.suffix == ".py":
        text = "\n".join(line.removeprefix("#").removeprefix(" ") for line in text.splitlines() if line.startswith("#"))
    blocks = re.compile(r"^ *```(\w*)\n(.*?)^ *```", re.DOTALL | re.MULTILINE)
    for language, block in blocks.findall(text):
        if language in SHELL:
            yield from started(re.sub(r"\\\n", " ", block).splitlines())
    for code in re.findall(r"(?<!`)`([^`\n]+)`(?!`)", blocks.sub("", text)):
        yield from started([code])


def started(lines: Iterable[str]) -> Iterator[str]:
    """The parts of lines that start one of our programs."""
    parts = (part.strip().removeprefix("$ ") for line in lines for part in line.split(" && "))
    return filter(START.match, parts)


EVERY = {command: page for page in PAGES if page.name not in RUN_ELSEWHERE for command in commands(page)}


class WordsRead(Exception):
    """An argument parser accepted its words."""


def check_job(words: Sequence[str], name: str) -> None:
    """Compose and build a job, or every value of a sweep."""
    given = get_args_parser().parse_args(list(words))
    folder = config_folder()
    if given.config_dir is not None:
        assert given.config_dir in ("multirun_templates", TEMPLATES)
        folder = template_folder()
    line = "\n".join(given.overrides)
    for made, instead in MADE_BEFORE.items():
        line = re.sub(made, instead.replace(" ", "\n"), line, flags=re.DOTALL)
    register()
    Plugins.instance()
    space = parse_space({}, line.splitlines())
    with initialize_config_dir(version_base="1.3", config_dir=str(folder)):
        for values in space.probes() or [{}]:
            search = f"hydra.searchpath=[file://{config_folder()}]"
            config = compose(given.config_name or name, [search, *space.overrides(values)], return_hydra_config=True)
            build_stages(config)


def check_trustmm(words: Sequence[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Check the words behind ``trustmm``."""
    name = words[0] if words and words[0] in COMMANDS else "run"
    rest = list(words[1:] if words[:1] == [name] else words)
    if words == [name] or not {"--help", "--version"}.isdisjoint(words) or COMMANDS[name].alone:
        assert len(rest) <= 1 - COMMANDS[name].alone
    elif name in ("run", "rectify"):
        check_job(rest, "config" if name == "run" else "rectify")
    else:
        parse = argparse.ArgumentParser.parse_args

        def stop(parser: argparse.ArgumentParser, given: Any = None) -> None:
            parse(parser, given)
            raise WordsRead

        monkeypatch.setattr(argparse.ArgumentParser, "parse_args", stop)
        monkeypatch.setattr(sys, "argv", ["trustmm", *rest])
        with pytest.raises(WordsRead):
            importlib.import_module(COMMANDS[name].module).main()


@pytest.mark.parametrize("command", EVERY, ids=[f"{page.name}: {command[:60]}" for command, page in EVERY.items()])
def test_a_command_on_a_page_can_be_typed(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRUSTMM_DATA", "/data")  # a page may set it once for all its commands
    words = shlex.split(command, comments=True)
    while "=" in words[0]:
        del words[0]
    program, *rest = words
    if program == "make":
        targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
        assert {word for word in rest if "=" not in word} <= targets
    elif program == "trustmm":
        check_trustmm(rest, monkeypatch)
    elif rest[:2] == ["-m", "trustmm"]:
        check_trustmm(rest[2:], monkeypatch)
    else:
        paths = [word for word in rest if re.match(r"(tests|docs|benchmarks)/", word)]
        assert paths or "pytest" not in rest
        assert all((ROOT / path.partition("::")[0]).exists() for path in paths)


def test_commands_are_found_in_blocks_in_lines_and_in_tutorials(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "`trustmm ui` and `trustmm.run`\n```\nmake demo  # 4 minutes\npython -m trustmm \\\n  a=1\nls\n```\n"
    )
    assert list(commands(page)) == ["make demo  # 4 minutes", "python -m trustmm    a=1", "trustmm ui"]
    found = {page.name for page in EVERY.values()}
    assert {"README.md", "data.md", "optuna.md", "robustness.py"} <= found
