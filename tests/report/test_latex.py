"""Tables for a paper: they compile, fit their column or page, and speak the paper's language."""

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.report.conftest import Sweep, curves
from tests.report.evidence.test_claims import edits, figure2
from tests.report.figure.test_figures import knobs
from trustmm.report.runs.read import read_sweeps
from trustmm.report.table.claims import claim_tables
from trustmm.report.table.latex import MOST_ROWS, PACKAGES, latex, text
from trustmm.report.table.table import Number, Table
from trustmm.report.write import tables_of

STUDIES: dict[str, Callable[[Sweep], None]] = {
    "curves": lambda sweep: curves(sweep, figure2, seeds=range(3)),
    "knobs": knobs,
    "edits": lambda sweep: edits(sweep, lambda op, mode, noise: 0.01 * abs(noise)),
}


def compiles(tables: list[str], folder: Path) -> str:
    """TeX's account of a paper in two columns with these tables."""
    loaded = "".join(rf"\usepackage{{{package}}}" for package in PACKAGES)
    body = "\\clearpage\n".join(tables)
    paper = f"\\documentclass[10pt,twocolumn]{{article}}{loaded}\\begin{{document}}\n{body}\\end{{document}}\n"
    (folder / "paper.tex").write_text(paper, encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
    done = subprocess.run(command, cwd=folder, capture_output=True, timeout=120)
    said = (folder / "paper.log").read_text(encoding="latin-1")
    assert done.returncode == 0, said[-2000:]
    return said


def has_tex() -> bool:
    return (
        shutil.which("pdflatex") is not None
        and not subprocess.run(
            ["kpsewhich", *(f"{package}.sty" for package in PACKAGES)], capture_output=True
        ).returncode
    )


@pytest.mark.skipif(not has_tex(), reason="needs pdflatex with booktabs: apt-get install texlive-latex-recommended")
@pytest.mark.parametrize("study", STUDIES)
def test_all_tables_of_a_report_compile_and_are_no_wider_than_their_column(
    study: str, sweep: Sweep, tmp_path: Path
) -> None:
    STUDIES[study](sweep)
    runs = read_sweeps([sweep.folder])
    tables = [table for table in (*tables_of(runs), *claim_tables(runs)) if table.rows]
    assert {"cells", "claims"} <= {table.name for table in tables}
    said = compiles([latex(table) for table in tables], tmp_path)
    assert not re.findall(r"Overfull \\hbox.*", said)
    assert "multiply defined" not in said
    assert "Missing character" not in said


def test_captions_have_no_number_of_ours_and_heads_have_the_papers_symbols() -> None:
    columns = ["corruption.eta", "rectifier.tau=0.1", "rectifier=mr", "R@10", "comparison", "own_option=a_b"]
    shown = latex(Table("t", "Table 2. Clean performance", columns, [["0", Number(1.0), "x", "x", "mr - none", "x"]]))
    assert r"\caption{Clean performance." in shown
    assert r"$\eta_m$ & $\tau$\,=\,0.1 & +MR & Recall@10 & comparison & own\_option\,=\,a\_b \\" in shown
    assert r"+MR $-$ base" in shown
    assert "Fig. 3" not in latex(Table("t", "Fig. 3 in numbers: lam and tau", ["a"], [["b"]]))


@pytest.mark.parametrize(
    ("plain", "expected"),
    [
        ("-0.5", "$-$0.5"),
        ("[-0.1, +0.2]", "[$-$0.1, +0.2]"),
        ("0-0.4", "0-0.4"),
        ("seeds (0-4)", "seeds (0-4)"),
        ("well-kept", "well-kept"),
        ("50 % & more_", r"50 \% \& more\_"),
        ("± η < λ", r"$\pm$ $\eta$ $<$ $\lambda$"),
        (r"$\eta_m$ 5 $", r"$\eta_m$ 5 \$"),
    ],
)
def test_a_minus_is_one_only_where_a_number_is_negative(plain: str, expected: str) -> None:
    assert text(plain) == expected


def test_columns_without_a_word_and_a_single_environment_are_not_printed() -> None:
    rows = [["x", "", "A"], ["y", "", "A"]]
    shown = latex(Table("t", "T", ["a", "hollow", "environment"], rows, notes=["Environment A: here.", "More."]))
    assert "\na \\\\\n" in shown
    assert "nvironment" not in shown
    assert "More." in shown
    mixed = latex(Table("t", "T", ["a", "environment"], [["x", "A"], ["y", "B vs A"]], notes=["Environment A: here."]))
    assert "environment" in mixed
    assert "Environment A: here." in mixed


def test_many_rows_are_split_by_metric_and_then_by_page() -> None:
    rows = [[str(n), metric, Number(n)] for metric in ("R@10", "N@10") for n in range(MOST_ROWS + 1)]
    shown = latex(Table("t", "Title", ["cell", "metric", "value"], rows))
    assert re.findall(r"\\label{tab:(.*?)}", shown) == ["t-r10-1", "t-r10-2", "t-n10-1", "t-n10-2"]
    assert re.findall(r"\\caption{(.*?)\.[ }]", shown)[:2] == ["Title: Recall@10 (1 of 2)", "Title: Recall@10 (2 of 2)"]
    assert "metric" not in shown
    few = latex(Table("t", "Title", ["cell", "metric", "value"], rows[:4]))
    assert few.count(r"\begin{tabular}") == 1


def test_a_wide_table_spans_both_columns_and_long_texts_get_lines_of_their_own() -> None:
    narrow = latex(Table("t", "T", ["a", "n"], [["x", Number(-0.5, bold=True)]]))
    assert r"\begin{table}" in narrow
    assert r"\begin{tabular}{@{}lr@{}}" in narrow
    assert r"\textbf{$-$0.5000}" in narrow
    wide = latex(Table("t", "T", ["a", "b"], [["long text " * 9, "x"]]))
    assert r"\begin{table*}" in wide
    assert r"p{0.56\linewidth}" in wide
