"""A table as LaTeX for a paper: booktabs, in small, no wider than a page, with the paper's words and symbols."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from trustmm.report.runs.order import LABELS
from trustmm.report.table.table import Number, Table

PACKAGES = ("booktabs", "graphicx", "array")
"""What a document must use for these tables."""
SYMBOLS = {
    "eta": r"$\eta_m$",
    "corruption.eta": r"$\eta_m$",
    "corruption.eta_e": r"$\eta_e$",
    "corruption.kind": "damage",
    "lam": r"$\lambda$",
    "rectifier.lam": r"$\lambda$",
    "tau": r"$\tau$",
    "rectifier.tau": r"$\tau$",
    "rectifier.rho": r"$\rho$",
    "rectifier": "repair",
    "edit.op": "edit",
    "edit": "where",
}
"""The paper's words and symbols for our names of columns."""
COLUMN, PAGE = 46, 100
"""Characters in small that fit a column of two, and a page."""
MOST_ROWS = 40
"""Of a table on one page."""
LONG = 28
"""Characters of a text that gets lines of its own within its column."""
_SPECIAL = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
_SPECIAL |= {sign: f"\\{sign}" for sign in "&%$#_{}"}
_SPECIAL |= {"<": r"$<$", ">": r"$>$", "η": r"$\eta$", "λ": r"$\lambda$", "τ": r"$\tau$", "ρ": r"$\rho$"}
_SPECIAL |= {"±": r"$\pm$", "×": r"$\times$", "−": "$-$"}


def latex(table: Table) -> str:
    """A table environment, or several where there are many rows: by metric, and `MOST_ROWS` on a page."""
    return "\n".join(_environment(part) for part in _parts(table.telling()))


def _parts(table: Table) -> Iterator[Table]:
    """The same table in parts that fit a page."""
    place = list(table.columns).index("metric") if "metric" in table.columns else None
    groups: list[tuple[str, str, Sequence[str], Sequence[Sequence[Any]]]] = []
    if place is None or len(table.rows) <= MOST_ROWS // 2:
        groups.append((table.name, table.title, table.columns, table.rows))
    else:
        columns = _without(table.columns, place)
        for metric in dict.fromkeys(row[place] for row in table.rows):
            of_metric = [_without(row, place) for row in table.rows if row[place] == metric]
            name = f"{table.name}-{re.sub('[^a-zA-Z0-9]', '', metric).lower()}"
            groups.append((name, f"{table.title}: {_metric(metric)}", columns, of_metric))
    for name, title, columns, rows in groups:
        pages = [rows[start : start + MOST_ROWS] for start in range(0, len(rows), MOST_ROWS)]
        for number, page in enumerate(pages, 1):
            more = (f"-{number}", f" ({number} of {len(pages)})") if len(pages) > 1 else ("", "")
            yield replace(table, name=name + more[0], title=title + more[1], columns=columns, rows=page)


def _without(values: Sequence[Any], place: int) -> Sequence[Any]:
    return [value for number, value in enumerate(values) if number != place]


def _environment(table: Table) -> str:
    widths = [max(len(str(row[place])) for row in [table.columns, *table.rows]) for place in range(len(table.columns))]
    wide = sum(widths) + 2 * len(widths) > COLUMN
    kind = "table*" if wide else "table"
    heads = [_head(column) for column in table.columns]
    lines = [" & ".join(heads), *(" & ".join(_cell(value) for value in row) for row in table.rows)]
    first, *rest = [rf"{line} \\" for line in lines]
    body = [rf"\begin{{tabular}}{{{_layout(table, widths)}}}", r"\toprule", first, r"\midrule", *rest, r"\bottomrule"]
    fitted = r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%"
    notes = [rf"\par\smallskip{{\footnotesize {text(note)}\par}}" for note in table.notes]
    return "\n".join(
        [
            rf"\begin{{{kind}}}[tbp]",
            rf"\centering\caption{{{text(_caption(table))}}}\label{{tab:{table.name}}}\smallskip",
            r"\small",
            fitted,
            *body,
            r"\end{tabular}}",
            *notes,
            rf"\end{{{kind}}}",
            "",
        ]
    )


def _caption(table: Table) -> str:
    """Title and caption, without a number of ours: LaTeX gives its own."""
    title = re.sub(r"^(Table|Fig\.) \d+( in numbers)?[.:] ", "", table.title).rstrip(".")
    return f"{title[:1].upper()}{title[1:]}. {table.caption}".replace("**", "").strip()


def _layout(table: Table, widths: Sequence[int]) -> str:
    """Numbers to the right, short texts to the left, long ones in lines of a width in proportion to the page."""
    whole = max(PAGE, sum(min(width, 2 * LONG) for width in widths))
    kinds = []
    for place, width in enumerate(widths):
        cells = [row[place] for row in table.rows]
        if width > LONG and not all(isinstance(cell, Number) for cell in cells):
            share = min(width, 2 * LONG) / whole
            kinds.append(rf">{{\raggedright\arraybackslash}}p{{{share:.2f}\linewidth}}")
        else:
            kinds.append("r" if all(isinstance(cell, Number) or not cell for cell in cells) else "l")
    return "@{}" + "".join(kinds) + "@{}"


def _head(column: str) -> str:
    """A column's name; one that is a value, such as "rectifier.tau=0.1", with its symbol."""
    key, sign, value = column.partition("=")
    if key == "rectifier" and sign:
        return text(LABELS.get(value, value))
    known = SYMBOLS.get(key.strip())
    return (known if known is not None else text(_metric(key))) + (f"\\,{sign}\\,{text(value)}" if sign else "")


def _cell(value: Any) -> str:
    known = LABELS.get(str(value), _metric(str(value)))
    written = text(" - ".join(LABELS.get(word, word) for word in known.split(" - ")).replace(" - ", " − "))
    return rf"\textbf{{{written}}}" if isinstance(value, Number) and value.bold and written else written


def _metric(words: str) -> str:
    """The paper's names of metrics for our short ones."""
    return re.sub(r"\bN@(?=\d)", "NDCG@", re.sub(r"\bR@(?=\d)", "Recall@", words))


def text(plain: str) -> str:
    """Text with LaTeX's own signs made harmless, and a minus where a number is negative."""
    parts = re.split(r"(\$\\[a-z_]+\$)", re.sub(r"(?<![\w.)\]-])-(?=\.?\d)", "−", plain))
    return "".join(
        part if number % 2 else "".join(_SPECIAL.get(sign, sign) for sign in part) for number, part in enumerate(parts)
    )
