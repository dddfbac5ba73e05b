"""Pages that are made from other files: the README as home, all options from conf/, tutorials by running them."""

import importlib.util
import itertools
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
COPIED = {"index.md": "README.md", "contributing.md": "CONTRIBUTING.md", "changelog.md": "CHANGELOG.md"}
TUTORIALS = sorted((ROOT / "docs" / "tutorials").glob("*.py"))
RUNNER = ROOT / "docs" / "notebook.py"
KEY = re.compile(r"(?P<indent> *)(?P<key>[A-Za-z_]\w*):(?: (?P<value>.*?))?(?:\s+# (?P<comment>.*))?$")


def on_files(files: Any, config: Any) -> Any:
    """Called by mkdocs with the files that it found."""
    from mkdocs.structure.files import File

    made = {page: site_links((ROOT / file).read_text(encoding="utf-8")) for page, file in COPIED.items()}
    for page, text in [*made.items(), ("options.md", options_page(ROOT / "conf")), *tutorial_pages()]:
        files.append(File.generated(config, page, content=text))
    return files


def tutorial_pages() -> Iterator[tuple[str, str]]:
    """Of every tutorial, run now: its notebook with all outputs, and its page. Two run at a time."""
    spec = importlib.util.spec_from_file_location("docs_notebook", RUNNER)
    runner = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(runner)
    with ThreadPoolExecutor(2) as pool:
        for path, notebook in zip(TUTORIALS, pool.map(notebook_of, TUTORIALS), strict=True):
            name = f"tutorials/{path.stem}"
            yield f"{name}.ipynb", notebook
            title, _, rest = runner.page(json.loads(notebook)).partition("\n")
            links = f"Run when this site was built. [As a notebook]({path.stem}.ipynb) - [as a script]({path.name})"
            yield f"{name}.md", f"{title}\n{links}\n\n{rest}"


def notebook_of(path: Path) -> str:
    """A tutorial run in a process and a folder of its own, as the text of a notebook."""
    with tempfile.TemporaryDirectory() as folder:
        command, alone = [sys.executable, str(RUNNER), str(path)], os.environ | {"OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, cwd=folder, env=alone, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{path}:\n{done.stderr}")
    return done.stdout


def site_links(text: str) -> str:
    """Links of a page at the root, as they are from within the site."""
    for page, file in COPIED.items():
        text = re.sub(rf"\]\({re.escape(file)}(#[^)]*)?\)", rf"]({page}\1)", text)
    text = re.sub(r"\]\(docs/tutorials/(\w+)\.py\)", r"](tutorials/\1.md)", text)
    text = text.replace("](docs/tutorials)", "](tutorials/own_data.md)")
    text = text.replace("](docs/decisions)", "](decisions/0001-target-not-registry.md)").replace("](docs/", "](")
    return re.sub(r"\[([^]]*)\]\((CITATION\.cff|LICENSE)\)", r"\1", text)


def options_page(conf: Path) -> str:
    """Every option of every YAML file, with its default and its comment."""
    intro = "Every key of every file in `conf/`. `GROUP=OPTION` chooses a file, `GROUP.KEY=VALUE` changes a key."
    parts = ["# Options", intro]
    for path in sorted(conf.rglob("*.yaml"), key=lambda path: (path.parent != conf, path)):
        inside = path.relative_to(conf)
        title = str(inside) if path.parent == conf else f"{inside.parent}={path.stem}"
        parts += [f"## {title}", *option_table(path.read_text(encoding="utf-8"))]
    return "\n\n".join(parts) + "\n"


def option_table(text: str) -> list[str]:
    """The comment that heads a file, and a table of its keys."""
    intro = list(itertools.takewhile(lambda line: line.startswith("#"), text.splitlines()))
    rows = ["| key | default | |", "|---|---|---|"]
    parents: list[str] = []
    for line in text.splitlines()[len(intro) :]:
        found = KEY.match(line)
        if found is None:
            continue
        parents = [*parents[: len(found["indent"]) // 2], found["key"]]
        if parents[0] != "defaults" and found["value"]:
            value, comment = (cell.strip().replace("|", r"\|") for cell in (found["value"], found["comment"] or ""))
            rows.append(f"| `{'.'.join(parents)}` | `{value}` | {comment} |")
    return [" ".join(line.lstrip("# ") for line in intro), "\n".join(rows)]
