"""The floors of the package: what docs/architecture.md draws is what the code imports."""

import ast
import re
import tomllib
from pathlib import Path

import grimp
import pytest

ROOTS = ("trustmm", "hydra_plugins", "tests")
DRAWING = "docs/figures/architecture.svg"
WIDTH, HEIGHT, BOX_HEIGHT = 940, 62, 26
"""Of the drawing, of a floor, of a room, in pixels."""


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    return grimp.build_graph("trustmm", cache_dir=None)


@pytest.fixture(scope="module")
def floors(project: Path, graph: grimp.ImportGraph) -> list[list[str]]:
    """Rooms by floor, the uppermost first: the first contract of pyproject.toml, as far as the rooms exist."""
    contracts = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
    layers = [[name.strip("( )") for name in floor.split("|")] for floor in contracts["contracts"][0]["layers"]]
    found = [[name for name in floor if name in graph.modules] for floor in layers]
    return [floor for floor in found if floor]


def imports(graph: grimp.ImportGraph) -> set[tuple[str, str]]:
    """Pairs of a room and another that one of its files imports from."""
    rooms = graph.find_children("trustmm")
    pairs = {(module, found) for module in graph.modules for found in graph.find_modules_directly_imported_by(module)}
    named = {tuple(".".join(name.split(".")[:2]) for name in pair) for pair in pairs}
    return {(above, below) for above, below in named if above != below and {above, below} <= rooms}


def test_every_room_has_a_floor(graph: grimp.ImportGraph, floors: list[list[str]]) -> None:
    assert {room for floor in floors for room in floor} == graph.find_children("trustmm")


def test_no_import_leads_upward_or_along_a_floor(graph: grimp.ImportGraph, floors: list[list[str]]) -> None:
    floor_of = {room: number for number, floor in enumerate(floors) for room in floor}
    assert [pair for pair in sorted(imports(graph)) if floor_of[pair[0]] >= floor_of[pair[1]]] == []


def test_files_import_each_other_in_no_circle(graph: grimp.ImportGraph) -> None:
    left = {module: set(graph.find_modules_directly_imported_by(module)) for module in graph.modules}
    while free := [module for module, below in left.items() if not below & left.keys()]:
        for module in free:
            del left[module]
    assert sorted(left) == []


def test_the_drawing_is_the_code(
    project: Path, graph: grimp.ImportGraph, floors: list[list[str]], request: pytest.FixtureRequest
) -> None:
    path, drawn = project / DRAWING, draw(floors, imports(graph))
    if request.config.getoption("--rewrite-golden"):
        path.write_text(drawn, encoding="utf-8")
    assert path.read_text(encoding="utf-8") == drawn, "the rooms have changed: make golden draws them anew"


def test_the_page_names_what_is_there(project: Path) -> None:
    page = (project / "docs" / "architecture.md").read_text(encoding="utf-8")
    words = set(re.findall(r"(?<=`)[^`\s]*/[^`\s]*(?=`)|(?<=`ls )[^`]+(?=`)", page))
    assert len(words) > 6
    assert sorted(word for word in words if not (project / word).exists()) == []
    assert "def run_job(" in (project / "trustmm" / "job.py").read_text(encoding="utf-8")
    assert page.count("\n| ") == 1 + 10, "ten questions under one heading"


def draw(floors: list[list[str]], edges: set[tuple[str, str]]) -> str:
    """The floors as SVG, an arrow for every import between two rooms that no longer way implies."""
    place = {
        room: (WIDTH * (2 * number + 1) // (2 * len(floor)), HEIGHT * level + HEIGHT // 2)
        for level, floor in enumerate(floors)
        for number, room in enumerate(floor)
    }
    lines = [arrow(place[above], place[below]) for above, below in sorted(needed(edges))]
    boxes = [box(room.removeprefix("trustmm."), *place[room]) for floor in floors for room in floor]
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT * len(floors)}" '
        'font-family="sans-serif" font-size="13" text-anchor="middle">'
    )
    tip = '<marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
    tip += '<path d="M0 0 8 4 0 8z" fill="#0072B2"/></marker>'
    ground = '<rect width="100%" height="100%" fill="white"/>'
    return "\n".join([head, f"<defs>{tip}</defs>", ground, *lines, *boxes, "</svg>", ""])


def needed(edges: set[tuple[str, str]]) -> set[tuple[str, str]]:
    below: dict[str, set[str]] = {}
    for room, other in edges:
        below.setdefault(room, set()).add(other)

    def reach(room: str) -> set[str]:
        return {found for other in below.get(room, ()) for found in {other, *reach(other)}}

    return {(room, other) for room, other in edges if not any(other in reach(way) for way in below[room] - {other})}


def arrow(start: tuple[int, int], end: tuple[int, int]) -> str:
    (x, y), (to_x, to_y) = start, end
    y, to_y = y + BOX_HEIGHT // 2, to_y - BOX_HEIGHT // 2
    bend = max(20, (to_y - y) // 2)
    way = f"M{x} {y} C{x} {y + bend} {to_x} {to_y - bend} {to_x} {to_y}"
    return f'<path d="{way}" fill="none" stroke="#0072B2" stroke-opacity="0.6" marker-end="url(#tip)"/>'


def box(name: str, x: int, y: int) -> str:
    width = 16 + 9 * len(name)
    shape = f'<rect x="{x - width // 2}" y="{y - BOX_HEIGHT // 2}" width="{width}" height="{BOX_HEIGHT}" rx="5" '
    return f'{shape}fill="#f4f4f4" stroke="#666666"/><text x="{x}" y="{y + 5}">{name}</text>'


def test_an_arrow_that_a_longer_way_implies_is_left_out() -> None:
    edges = {("cli", "run"), ("run", "store"), ("cli", "store"), ("cli", "report")}
    assert needed(edges) == {("cli", "run"), ("run", "store"), ("cli", "report")}


def test_tests_and_benchmarks_import_only_what_is_there(project: Path) -> None:
    """A module that moved takes its tests along: seen here, in `make lint`, before any of them is imported."""
    trees = {
        ".".join(path.relative_to(project).with_suffix("").parts).removesuffix(".__init__"): ast.parse(
            path.read_bytes()
        )
        for folder in ("trustmm", "hydra_plugins", "tests", "benchmarks")
        for path in (project / folder).rglob("*.py")
    }
    names = {module: defined(tree) for module, tree in trees.items()}
    missing = [
        f"{module}:{node.lineno} {node.module}.{alias.name}"
        for module, tree in trees.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and not node.level and str(node.module).split(".")[0] in ROOTS
        for alias in node.names
        if f"{node.module}.{alias.name}" not in trees and alias.name not in names.get(str(node.module), ())
    ]
    assert missing == []


def defined(tree: ast.Module) -> set[str]:
    """Names that a module binds somewhere."""
    found = set()
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                found.add(name)
            case ast.Name(id=name, ctx=ast.Store()):
                found.add(name)
            case ast.alias(name=name, asname=other):
                found.add(other or name)
    return found
