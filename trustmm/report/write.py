"""A report as files: one page, and every table and figure on its own."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from trustmm.report.figure.choose import figures_of
from trustmm.report.figure.line import Drawing
from trustmm.report.figure.paths import path_figures
from trustmm.report.html import html_page
from trustmm.report.runs.cells import axes_of, describe
from trustmm.report.runs.read import Runs, options_in
from trustmm.report.runs.studies import told_by_study
from trustmm.report.table.caption import grids, provenance
from trustmm.report.table.claims import claim_tables
from trustmm.report.table.diagnosis import alignment_table, repair_table
from trustmm.report.table.environment import mixed
from trustmm.report.table.latex import latex
from trustmm.report.table.paper import clean_rows, table1, table2
from trustmm.report.table.study import (
    HEADLINE,
    cell_table,
    contrasts,
    difference_table,
    pivot_table,
    robustness_table,
    sensitivity_table,
)
from trustmm.report.table.table import Table
from trustmm.report.table.verdicts import verdict_tables
from trustmm.store.files import atomic

PAGE = "report.md"


def tables_of(runs: Runs) -> Iterator[Table]:
    """All tables that the runs have something for, in the order of the page."""
    yield table1(runs)
    yield from verdict_tables(runs)
    yield from _comparisons(grids(runs))
    yield cell_table(runs)


def _comparisons(runs: Runs) -> Iterator[Table]:
    table, axes = runs.table, set(axes_of(runs.table))
    named = any("table2" in name for name in runs.names)
    if not len(table):
        return
    notes = mixed_pairs(runs)
    if named or {"none", "mr"} <= set(clean_rows(table)["rectifier"]):
        yield table_with(table2(runs), notes)
    pivot = pivot_table(runs)
    knobs = {"rectifier.lam", "rectifier.tau"} <= axes
    shown = sensitivity_table(runs) if knobs else pivot
    yield from [table_with(shown, notes)] if shown is not None else []
    yield difference_table(runs)
    yield table_with(robustness_table(runs), notes)
    yield repair_table(runs)
    yield table_with(alignment_table(runs), notes)


def mixed_pairs(runs: Runs) -> list[str]:
    """Notes on compared cells and curves that were not computed in one environment; none where all were."""
    if not len(runs.table):
        return []
    found = contrasts(runs.table, f"test/{HEADLINE[0]}")
    return mixed(runs.table, [(describe({**pair.values, **pair.treated}), pair) for pair in found])


def table_with(table: Table, notes: Sequence[str]) -> Table:
    """The table with more notes, where it has anything that they could be about."""
    return replace(table, notes=[*table.notes, *notes]) if table.rows else table


def write_report(
    runs: Runs, folder: Path, *, title: str = "Report", claims_only: bool = False, html: Sequence[str] | None = None
) -> list[Path]:
    """Write everything and return the files, the page first.

    Args:
        runs: what was read.
        folder: made if missing; files of the same name are replaced.
        title: of the page.
        claims_only: leave tables and figures out, as for many sweeps together.
        html: write ``report.html``, too, with these commands beside those of the sweeps.
    """
    folder.mkdir(parents=True, exist_ok=True)
    runs = replace(runs, table=told_by_study(runs.table, options_in(runs.table)))
    known = len(runs.table) > 0
    drawings = [*path_figures(runs), *figures_of(grids(runs))] if known and not claims_only else []
    mixes = [note for note in mixed_pairs(grids(runs)) if note.startswith("**")]
    drawings = [replace(one, caption=" ".join([one.caption, *mixes])) for one in drawings]
    tables = [table for table in tables_of(runs) if table.rows] if known and not claims_only else []
    claims = [table_with(table, mixed_pairs(runs)) for table in claim_tables(runs)]
    claims = [table for table in claims if claims_only or speaks(table)]
    files = [folder / PAGE]
    files += [_write_figure(drawing, folder, suffix) for drawing in drawings for suffix in ("png", "svg", "pdf")]
    for table in (*tables, *claims):
        forms = {"md": table.markdown() + "\n", "csv": table.csv(), "tex": latex(table)}
        files += [_write(folder / f"{table.name}.{suffix}", text) for suffix, text in forms.items()]
    if known:
        flat = runs.table.drop(columns=["environment", "inputs", "statistics", "tracking", "sweeps"])
        files.append(_write(folder / "runs.csv", flat.to_csv(index=False)))
    facts = provenance(runs)
    if html is not None:
        page = html_page(title, facts, drawings, tables, claims, [*runs.commands, *html])
        files.append(_write(folder / "report.html", page))
    blocks = [f"# {title}", _lines(facts), *map(_show, drawings), *(table.markdown() for table in tables)]
    said = [table.markdown() for table in claims] or ["None of the paper's claims is measured by these runs."]
    _write(folder / PAGE, "\n\n".join([*blocks, "## Claims", *said]) + "\n")
    return files


def speaks(claims: Table) -> bool:
    """Whether a table of claims says anything of any: not where nothing is measured."""
    if "verdict" not in claims.columns:
        return True
    place = list(claims.columns).index("verdict")
    return any(row[place] not in ("not measured", "no verdict") for row in claims.rows)


def _lines(lines: list[str]) -> str:
    return "\n".join(line if line.startswith("  -") else f"- {line}" for line in lines)


def _show(drawing: Drawing) -> str:
    return f"**{drawing.title}**\n\n![{drawing.title}]({drawing.name}.png)\n\n{drawing.caption}"


def _write_figure(drawing: Drawing, folder: Path, suffix: str) -> Path:
    path = folder / f"{drawing.name}.{suffix}"
    with atomic(path) as temporary:
        undated = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}  # equal figures are equal files
        drawing.figure.savefig(temporary, format=suffix, metadata=undated.get(suffix))
    return path


def _write(path: Path, text: str) -> Path:
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path
