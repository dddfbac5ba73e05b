"""Tutorials: Python files in the percent format, run cell by cell into a notebook, and a notebook as a page.

Such a file is a script (``python docs/tutorials/own_data.py``), and editors open it as a notebook. To write one with
its outputs: ``python docs/notebook.py docs/tutorials/own_data.py > own_data.ipynb``. What it makes is left in the
working directory.
"""

import ast
import base64
import contextlib
import io
import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

CELL = re.compile(r"^# %%( \[markdown\])?\n", re.MULTILINE)
FORMS = {"image/png": "_repr_png_", "text/html": "_repr_html_", "text/plain": "__repr__"}
"""How a value may be shown, and which of its methods does it: the first that it has."""

Cell = dict[str, Any]


def cells(text: str) -> Iterator[tuple[bool, str]]:
    """Of each cell, whether it is prose, and its text."""
    _, *parts = CELL.split(text)
    for prose, body in zip(parts[::2], parts[1::2], strict=True):
        yield bool(prose), (re.sub(r"^# ?", "", body, flags=re.MULTILINE) if prose else body).strip()


def run(path: Path) -> dict[str, Any]:
    """The notebook of a tutorial, every cell run in order.

    Args:
        path: of the tutorial.

    Returns: a notebook of format 4.4 as plain values.

    Raises: whatever a cell raises.
    """
    names: dict[str, Any] = {"__name__": "__main__"}
    found: list[Cell] = []
    for prose, source in cells(path.read_text(encoding="utf-8")):
        cell: Cell = {"cell_type": "markdown" if prose else "code", "metadata": {}, "source": source}
        count = sum(one["cell_type"] == "code" for one in found) + 1
        found.append(cell if prose else cell | {"execution_count": count, "outputs": run_cell(source, names, path)})
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return {"cells": found, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 4}


def run_cell(source: str, names: dict[str, Any], path: Path) -> list[dict[str, Any]]:
    """What a cell shows, as Jupyter would: printed lines, the value of its last line, figures that it left open."""
    body = ast.parse(source, filename=str(path)).body
    last = ast.Expression(body.pop().value) if body and isinstance(body[-1], ast.Expr) else None  # type: ignore[attr-defined]
    printed, value = io.StringIO(), None
    with contextlib.redirect_stdout(printed):
        exec(compile(ast.Module(body, type_ignores=[]), path, "exec"), names)
        if last is not None:
            value = eval(compile(last, path, "eval"), names)  # noqa: S307 - a cell of ours, run as it is written
    outputs: list[dict[str, Any]] = []
    if printed.getvalue():
        outputs.append({"output_type": "stream", "name": "stdout", "text": printed.getvalue()})
    return [*outputs, *([shown(value)] if value is not None else []), *map(shown, open_figures())]


def shown(value: Any) -> dict[str, Any]:
    """A value in the first of `FORMS` that it has."""
    form, method = next((form, method) for form, method in FORMS.items() if hasattr(value, method))
    data = getattr(value, method)()
    text = base64.b64encode(data).decode() if isinstance(data, bytes) else str(data)
    return {"output_type": "display_data", "data": {form: text}, "metadata": {}}


class Picture:
    """A figure as Jupyter shows it."""

    def __init__(self, figure: Any) -> None:
        self.figure = figure

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.figure.savefig(buffer, format="png", dpi=100, bbox_inches="tight")
        return buffer.getvalue()


def open_figures() -> Iterator[Picture]:
    """Figures of pyplot, closed as they are taken."""
    pyplot = sys.modules.get("matplotlib.pyplot")
    for number in pyplot.get_fignums() if pyplot else []:
        yield Picture(pyplot.figure(number))
        pyplot.close(number)


def page(notebook: Mapping[str, Any]) -> str:
    """A notebook as Markdown, outputs below their cells."""
    parts = []
    for cell in notebook["cells"]:
        parts.append(cell["source"] if cell["cell_type"] == "markdown" else fenced(cell["source"], "python"))
        parts += map(output_block, cell.get("outputs", []))
    return "\n\n".join(parts) + "\n"


def output_block(output: Mapping[str, Any]) -> str:
    """One output as Markdown."""
    if "text" in output:
        return fenced(output["text"], "text")
    ((form, text),) = output["data"].items()
    if form == "image/png":
        return f"![output](data:image/png;base64,{text})"
    return text if form == "text/html" else fenced(text, "text")


def fenced(text: str, language: str) -> str:
    """A block of code or of output."""
    return f"```{language}\n{text.rstrip()}\n```"


if __name__ == "__main__":
    json.dump(run(Path(sys.argv[1])), sys.stdout)
