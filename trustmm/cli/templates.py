"""``python -m trustmm templates``: the prepared studies, each with its question, its size and its command."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from trustmm.options.config import TEMPLATES, template_folder


class Template(NamedTuple):
    """The first three lines of a template."""

    name: str
    question: str
    command: str
    size: str


def main() -> None:
    """List all templates."""
    for template in templates(template_folder()):
        sys.stdout.write(f"{template.name} ({template.size})\n  {template.question}\n  {template.command}\n")


def templates(folder: Path) -> Iterator[Template]:
    """The templates of a folder; their commands work from any directory."""
    for path in sorted(folder.glob("*.yaml")):
        question, command, size = (line.removeprefix("# ") for line in path.read_text(encoding="utf-8").split("\n")[:3])
        yield Template(path.stem, question, command.replace(" multirun_templates ", f" {TEMPLATES} "), size)
