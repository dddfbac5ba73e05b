"""The documentation site's own pages: options from YAML, links that hold within the site."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest
from omegaconf import OmegaConf


@pytest.fixture(scope="module")
def site() -> ModuleType:
    path = Path(__file__).resolve().parents[1] / "docs" / "site.py"
    spec = importlib.util.spec_from_file_location("docs_site", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_option_is_on_the_page_of_options(site: ModuleType, project: Path) -> None:
    page = site.options_page(project / "conf")
    sections = dict(re.findall(r"^## (\S+)\n(.*?)(?=^## |\Z)", page, flags=re.DOTALL | re.MULTILINE))
    for group in ("backbone", "rectifier", "corruption", "dataset", "edit", "training"):
        for path in (project / "conf" / group).glob("*.yaml"):
            keys = set(OmegaConf.load(path)) - {"defaults"}
            for key in keys:
                assert re.search(rf"`{key}[`.]", sections[f"{group}={path.stem}"]), f"{path}: {key}"
    assert "share of items touched in each modality" in sections["corruption=stress"]


def test_an_option_has_its_default_and_its_comment(site: ModuleType) -> None:
    text = "# What it is.\n# More.\n_target_: a.B\nk: 10   # neighbours, a|b\nsub:\n  epochs: 50\n"
    intro, table = site.option_table(text)
    assert intro == "What it is. More."
    assert table.splitlines()[2:] == [
        "| `_target_` | `a.B` |  |",
        r"| `k` | `10` | neighbours, a\|b |",
        "| `sub.epochs` | `50` |  |",
    ]


def test_every_page_is_in_the_navigation_and_every_link_of_the_root_pages_leads_into_the_site(
    site: ModuleType, project: Path
) -> None:
    text = (project / "mkdocs.yml").read_text(encoding="utf-8")
    docs = project / "docs"
    pages = {str(path.relative_to(docs)) for path in docs.rglob("*.md")} | set(site.COPIED) | {"options.md"}
    pages |= {f"tutorials/{path.stem}.md" for path in site.TUTORIALS}
    named = set(re.findall(r"[\w/-]+\.md", text.partition("nav:")[2]))
    assert named == pages
    for file in site.COPIED.values():
        links = re.findall(r"\]\(([^)#:]+)\)", site.site_links((project / file).read_text(encoding="utf-8")))
        assert set(links) <= pages, file
