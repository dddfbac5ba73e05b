"""A report as one page for a browser: figures and tables inside it, tables that sort, nothing that is fetched."""

import base64
import html
import io
import re
from collections.abc import Sequence

from trustmm.report.figure.line import Drawing
from trustmm.report.table.table import Number, Table

EXPLAINED = (
    "**The seed is the unit of inference.** A seed is one training and, where the corruption's seed follows it, one "
    "draw of the corruption. A model trained again differs from itself, and its users cannot tell: more users do not "
    "replace more seeds.",
    "**Difference**: treated minus base of the *same* seed (same damage, same initialisation, same batches), averaged "
    "over seeds. **95% interval, seeds**: the t interval of that mean; it decides, and speaks for new trainings and "
    "draws on these users.",
    "**95% interval, seeds x users**: a crossed bootstrap from 5 seeds on; it speaks for new users, too (wider).",
    "**p, Holm**: p of the t test, adjusted for the number of rows of the table: read this one when you look for the "
    "significant rows. **users of one seed**: a test over users for one trained pair only; it decides no claim.",
    "**area**: mean height of the curve over eta. **drop**: share lost from the first to the last eta. One seed has no "
    "interval; figures draw intervals from three seeds on. A bold number is the larger mean, nothing more.",
)
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 76rem; margin: 2rem auto; padding: 0 1rem; color: #222 }
table { border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums }
th, td { padding: .2rem .6rem; border-bottom: 1px solid #ddd; text-align: left; vertical-align: top }
th { border-bottom: 2px solid #222; cursor: pointer; user-select: none; white-space: nowrap }
th[aria-sort=ascending]::after { content: " \\25b2" } th[aria-sort=descending]::after { content: " \\25bc" }
td.number { text-align: right } .wide { overflow-x: auto } figure { margin: 1rem 0 } img { max-width: 100% }
figcaption, .caption { color: #555; font-size: 13px } code, pre { background: #f4f4f4; padding: .1rem .3rem }
pre { overflow-x: auto; padding: .6rem } nav a { margin-right: 1rem }
"""
SCRIPT = """
for (const head of document.querySelectorAll("th")) head.addEventListener("click", () => {
  const body = head.closest("table").tBodies[0], place = head.cellIndex, rows = [...body.rows];
  const up = head.getAttribute("aria-sort") !== "ascending";
  const value = row => row.cells[place].dataset.value ?? row.cells[place].textContent;
  rows.sort((left, right) => {
    const [a, b] = [value(left), value(right)], [x, y] = [parseFloat(a), parseFloat(b)];
    if (isNaN(x) !== isNaN(y)) return isNaN(x) ? 1 : -1;
    return (up ? 1 : -1) * (isNaN(x) ? a.localeCompare(b) : x - y);
  });
  for (const other of head.parentNode.cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", up ? "ascending" : "descending");
  body.append(...rows);
});
"""


def html_page(
    title: str,
    facts: Sequence[str],
    drawings: Sequence[Drawing],
    tables: Sequence[Table],
    claims: Sequence[Table],
    commands: Sequence[str],
) -> str:
    """The whole page.

    Args:
        title: of the page.
        facts: what a reader must know about the runs, lines of Markdown.
        drawings: figures.
        tables: of what was measured.
        claims: tables of claims.
        commands: that made the runs and the report.
    """
    sections = {
        "Runs": [_list(facts)],
        "Figures": [_figure(drawing) for drawing in drawings],
        "Tables": [_table(table) for table in tables],
        "Claims": [_table(table) for table in claims],
        "How to read the numbers": [f"<p>{_inline(part)}</p>" for part in EXPLAINED],
        "Commands": [f"<pre>{html.escape(chr(10).join(commands))}</pre>"] if commands else [],
    }
    shown = {name: blocks for name, blocks in sections.items() if blocks}
    links = "".join(f'<a href="#{_anchor(name)}">{name}</a>' for name in shown)
    body = [f'<h2 id="{_anchor(name)}">{name}</h2>\n' + "\n".join(blocks) for name, blocks in shown.items()]
    named = html.escape(title)
    head = f'<meta charset="utf-8"><title>{named}</title><style>{STYLE}</style>'
    return "\n".join(
        ["<!doctype html>", f'<html lang="en"><head>{head}</head><body>', f"<h1>{named}</h1><nav>{links}</nav>"]
        + [*body, f"<script>{SCRIPT}</script></body></html>", ""]
    )


def _anchor(name: str) -> str:
    return name.lower().replace(" ", "-")


def _inline(text: str) -> str:
    """A line of Markdown: bold, emphasis and code."""
    safe = re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(text, quote=False))
    safe = re.sub(r"\*\*([^*]+)\*\*", r"<strong>\1</strong>", safe)
    return re.sub(r"(?<![\w*])\*([^*\s][^*]*)\*(?![\w*])", r"<em>\1</em>", safe)


def _list(lines: Sequence[str]) -> str:
    """Lines as a list; those that begin with "  -" belong to the one before."""
    items: list[str] = []
    for line in lines:
        if line.startswith("  -") and items:
            items[-1] += f"<br>{_inline(line.removeprefix('  -').strip())}"
        else:
            items.append(_inline(line))
    return "<ul>" + "".join(f"<li>{item}</li>" for item in items) + "</ul>"


def _figure(drawing: Drawing) -> str:
    text = io.StringIO()
    drawing.figure.savefig(text, format="svg", metadata={"Date": None})
    data = base64.b64encode(text.getvalue().encode()).decode()
    alt = html.escape(drawing.title)
    image = f'<img alt="{alt}" src="data:image/svg+xml;base64,{data}">'
    return f"<figure><h3>{alt}</h3>{image}<figcaption>{_inline(drawing.caption)}</figcaption></figure>"


def _table(whole: Table) -> str:
    table = whole.telling()
    heads = "".join(f"<th>{html.escape(column)}</th>" for column in table.columns)
    rows = "".join(f"<tr>{''.join(_cell(value) for value in row)}</tr>" for row in table.rows)
    below = "".join(f'<p class="caption">{_inline(text)}</p>' for text in (table.caption, *table.notes) if text)
    shown = f'<div class="wide"><table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div>'
    return f"<h3>{html.escape(table.title)}</h3>{shown}{below}"


def _cell(value: object) -> str:
    text = html.escape(str(value))
    if not isinstance(value, Number):
        return f"<td>{text}</td>"
    shown = f"<strong>{text}</strong>" if value.bold else text
    return f'<td class="number" data-value="{value.value!r}">{shown}</td>'
