"""The page for a browser needs no other file, and says what was run and how to read it."""

import html
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.report.conftest import Sweep, curves
from tests.report.evidence.test_claims import figure2
from trustmm.cli.report import main

VOID = {"meta", "img", "br", "link", "input"}
PLAN = """\
hydra:
  job: {config_name: quick}
  runtime: {cwd: /nowhere, choices: {}, config_sources: [{path: my templates, schema: file, provider: command-line}]}
  sweeper: {_target_: hydra.x.BasicSweeper}
  overrides: {task: ['corruption.eta=0,0.2', 'corruption.seed=${seed}']}
"""


class Reader(HTMLParser):
    """Checks that tags close in order, and collects addresses."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture
def page(sweep: Sweep, tmp_path: Path) -> str:
    curves(sweep, figure2, seeds=(0, 1), etas=(0, 0.2))
    sweep.fail("seed=9", reason="<script>alert(1)</script>")
    (sweep.folder / "multirun.yaml").write_text(PLAN, encoding="utf-8")
    main([str(sweep.folder), "--out", str(tmp_path / "out"), "--html", "--title", "A & B"])
    return (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


def test_the_page_fetches_nothing_closes_what_it_opens_and_runs_no_words_of_a_job(page: str) -> None:
    reader = Reader()
    reader.feed(page)
    assert reader.open == []
    assert all(address.startswith(("#", "data:image/svg+xml;base64,")) for address in reader.addresses)
    assert "http" not in re.sub(r"data:[^\"]+", "", page)
    assert "<title>A &amp; B</title>" in page
    assert "alert(1)" in page
    assert "<script>alert" not in page


def test_it_has_figures_tables_that_sort_by_value_statistics_and_commands(page: str) -> None:
    for name in ("Runs", "Figures", "Tables", "Claims", "How to read the numbers", "Commands"):
        assert f">{name}</h2>" in page
    assert page.count("<img ") >= 1
    assert re.search(r'<td class="number" data-value="0\.\d{5,}">(<strong>)?0\.\d{4}<', page)
    assert "addEventListener" in page
    assert "<strong>The seed is the unit of inference.</strong>" in page
    template, cells = (
        "--config-dir 'my templates' --config-name quick",
        "corruption.eta=0,0.2 'corruption.seed=${seed}'",
    )
    command = html.escape(f"trustmm -m {template} {cells}")
    assert command in page
    assert "trustmm report " in page
