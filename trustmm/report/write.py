"""A report as files: one page, and every table and figure on its own."""

from collections.abc import Iterator
from pathlib import Path

from trustmm.cache import atomic
from trustmm.report.cells import axes_of
from trustmm.report.claim_tables import claim_tables
from trustmm.report.diagnosis_tables import alignment_table, repair_table
from trustmm.report.figure.choose import figures_of
from trustmm.report.figure.line import Drawing
from trustmm.report.notes import grids, provenance
from trustmm.report.paper_tables import clean_rows, table1, table2
from trustmm.report.read import Runs
from trustmm.report.study_tables import (
    cell_table,
    difference_table,
    pivot_table,
    robustness_table,
    sensitivity_table,
)
from trustmm.report.tables import Table

PAGE = "report.md"


def tables_of(runs: Runs) -> Iterator[Table]:
    """All tables that the runs have something for, in the order of the page."""
    yield table1(runs)
    yield from _comparisons(grids(runs))
    yield cell_table(runs)


def _comparisons(runs: Runs) -> Iterator[Table]:
    table, axes = runs.table, set(axes_of(runs.table))
    named = any("table2" in name for name in runs.names)
    if not len(table):
        return
    if named or {"none", "mr"} <= set(clean_rows(table)["rectifier"]):
        yield table2(runs)
    pivot = pivot_table(runs)
    knobs = {"rectifier.lam", "rectifier.tau"} <= axes
    yield from [sensitivity_table(runs)] if knobs else [pivot] if pivot is not None else []
    yield difference_table(runs)
    yield robustness_table(runs)
    yield repair_table(runs)
    yield alignment_table(runs)


def write_report(runs: Runs, folder: Path, *, title: str = "Report", claims_only: bool = False) -> Path:
    """Write everything and return the page.

    Args:
        runs: what was read.
        folder: made if missing; files of the same name are replaced.
        title: of the page.
        claims_only: leave tables and figures out, as for many sweeps together.
    """
    folder.mkdir(parents=True, exist_ok=True)
    blocks = [f"# {title}", _lines(provenance(runs))]
    if len(runs.table) and not claims_only:
        tables = [table for table in tables_of(runs) if table.rows]
        blocks += [_write_figure(drawing, folder) for drawing in figures_of(grids(runs))]
        blocks += [_write_table(table, folder) for table in tables]
    if len(runs.table):
        blocks += ["## Claims", *[_write_table(table, folder) for table in claim_tables(runs)]]
        flat = runs.table.drop(columns=["versions", "statistics", "tracking", "sweeps"])
        _write(folder / "runs.csv", flat.to_csv(index=False))
    page = folder / PAGE
    _write(page, "\n\n".join(blocks) + "\n")
    return page


def _lines(lines: list[str]) -> str:
    return "\n".join(line if line.startswith("  -") else f"- {line}" for line in lines)


def _write_table(table: Table, folder: Path) -> str:
    _write(folder / f"{table.name}.md", table.markdown() + "\n")
    _write(folder / f"{table.name}.csv", table.csv())
    _write(folder / f"{table.name}.tex", table.latex())
    return table.markdown()


def _write_figure(drawing: Drawing, folder: Path) -> str:
    for suffix in ("png", "svg"):
        with atomic(folder / f"{drawing.name}.{suffix}") as path:
            drawing.figure.savefig(path, format=suffix, metadata={"Date": None} if suffix == "svg" else None)
    return f"**{drawing.title}**\n\n![{drawing.title}]({drawing.name}.png)\n\n{drawing.caption}"


def _write(path: Path, text: str) -> None:
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
