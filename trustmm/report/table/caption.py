"""What a reader must know beside every number: how many seeds, what varied, what is missing, which code."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from trustmm.report.runs.cells import axes_of, draw_of, gaps, key_of, name_cell
from trustmm.report.runs.read import Runs, options_in
from trustmm.report.runs.studies import legend_of_studies
from trustmm.report.table.environment import legend
from trustmm.store.sweep_folder import STUDY

SHOWN = 8
"""Items of a list that a caption spells out."""
_DRAWS = {
    "none": "the training seed varies",
    "tied": "training seed and corruption draw vary together",
    "fixed": "the training seed varies, the corruption draw is the same in all",
    "crossed": "training seed and corruption draw vary separately",
}


def caption_facts(runs: Runs, table: pd.DataFrame | None = None) -> str:
    """Seeds, what varied, and the counts of missing and failed cells, in a sentence each.

    Args:
        runs: everything that was read; its failures and gaps are counted.
        table: the rows that the caption is about; all by default.
    """
    rows = runs.table if table is None else table
    lost = gaps(runs)
    facts = [seeds_fact(rows)]
    missing = len(lost) + len(runs.absent)
    facts += [f"{_count(missing, 'cell')} missing, {_count(len(runs.failures), 'job')} failed."]
    facts += ["**Several versions of the code are mixed.**" if code_versions(rows) else ""]
    facts += ["**Data of the same name differ and are not compared.**" if differing_data(rows) else ""]
    return " ".join(fact for fact in facts if fact)


def seeds_fact(rows: pd.DataFrame) -> str:
    """How many seeds a cell has and what varies with them: "3 to 5 seeds (0-4); the training seed varies."."""
    if not len(rows):
        return "No finished job."
    counts = rows.groupby(key_of(rows, axes_of(rows)))["seed"].nunique()
    seeds = sorted(int(seed) for seed in rows["seed"].unique())
    run = f"{seeds[0]}-{seeds[-1]}" if seeds == list(range(seeds[0], seeds[-1] + 1)) else ", ".join(map(str, seeds))
    if len(seeds) == 1:
        return f"One seed ({seeds[0]}): no interval, nothing is decided."
    low, high = int(counts.min()), int(counts.max())
    number = f"{low} to {high} seeds" if low < high else f"{high} seeds" if high > 1 else "1 seed per cell"
    return f"{number} ({run}); {_DRAWS[draw_of(rows)]}."


def provenance(runs: Runs) -> list[str]:
    """Everything that a reader must know about the runs, as lines of Markdown."""
    table = runs.table
    axes = axes_of(table)
    lines = [f"Read from {', '.join(runs.sources) or 'nowhere'}: {_count(len(table), 'finished job')}."]
    if len(table):
        lines += [caption_facts(runs)]
    lines += _list("Studies, and the options that only tell them apart", legend_of_studies(table, options_in(table)))
    lines += _list(
        "Failed", [f"`{name_cell(cell, axes)}`: {cell.status}, {_reason(cell.reason)}" for cell in runs.failures]
    )
    lines += _list("Missing, though other cells have this seed", [f"`{line}`" for line in gaps(runs)])
    lines += _list("Planned, but neither finished nor failed", [f"`{name_cell(cell, axes)}`" for cell in runs.absent])
    lines += [f"Drawn by a sampler: {page} shows what mattered, by validation." for page in _search_pages(runs)]
    lines += _list("Recorded, but no longer planned by the folder's command", [f"`{cell}`" for cell in runs.unplanned])
    lines += _list("Older results of a cell that has a newer one, not used", runs.superseded)
    if len(table):
        lines += _list("**Several versions of the code are mixed**", code_versions(table))
        lines += _list("**Data differ though their options agree; they are not compared**", differing_data(table))
        lines += ["Environments:", *(f"  - {line}" for line in legend(table))]
        lines += _hidden(table)
    return lines


def _search_pages(runs: Runs) -> list[str]:
    pages = {search: [str(page) for page in sorted(Path(search).rglob(STUDY))] for search in runs.searches}
    return [f"`{page}`" for search, found in pages.items() for page in found or [f"{STUDY} of run {search}"]]


def _hidden(table: pd.DataFrame) -> list[str]:
    filters = sorted(set(table["filter"]))
    if filters == ["clean"]:
        return ["Evaluation hides the clean training positives in every cell, whatever was corrupted or edited."]
    return [
        f"**evaluation.filter is {', '.join(filters)}: scores under another filter than clean are no fair comparison.**"
    ]


def code_versions(table: pd.DataFrame) -> list[str]:
    """Jobs of the same stages that ran with different code, by stage; empty where there is one version of each.

    Different stages have different digests by nature: a job's digest covers the modules that it uses.
    """
    lines = []
    for _, rows in table.groupby("stages"):
        counts = rows["code_digest"].value_counts()
        if len(counts) > 1:
            first = rows.iloc[0]
            what = f"{first['backbone']}, rectifier {first['rectifier']}, edit {first['edit']}"
            lines.append(f"{what}: " + ", ".join(f"{code[:8]} ({_count(n, 'job')})" for code, n in counts.items()))
    return lines


def differing_data(table: pd.DataFrame) -> list[str]:
    """Data sets of the same name and options that hold something else, with their digests in their labels."""
    counts = table["dataset"].value_counts().sort_index()
    return [f"{label} ({_count(n, 'job')})" for label, n in counts.items() if "#" in str(label)]


def _list(title: str, items: Sequence[str]) -> list[str]:
    if not items:
        return []
    more = [f"  - and {len(items) - SHOWN} more"] if len(items) > SHOWN else []
    return [f"{title} ({len(items)}):", *[f"  - {item}" for item in items[:SHOWN]], *more]


def _reason(reason: str) -> str:
    text = " ".join(reason.split())
    return f"{text[:200]}..." if len(text) > 200 else text or "no reason recorded"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def only(runs: Runs, rows: pd.DataFrame) -> Runs:
    """The same runs with other rows."""
    return replace(runs, table=rows.reset_index(drop=True))


def grids(runs: Runs) -> Runs:
    """Without what was only searched: its cells share no options with others, there is nothing to compare."""
    kept = [bool(set(names) - set(runs.searches)) for names in runs.table["sweeps"]]
    return only(runs, runs.table[kept]) if runs.searches else runs
