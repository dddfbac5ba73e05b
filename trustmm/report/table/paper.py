"""Tables 1 and 2 of the paper, with published numbers in rows and columns of their own."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from trustmm.report.evidence import published
from trustmm.report.runs.cells import axes_of, describe, key_of, plain, spread
from trustmm.report.runs.order import in_order
from trustmm.report.runs.read import Runs
from trustmm.report.table.caption import caption_facts, only
from trustmm.report.table.table import Number, Table

METRICS = ("recall@10", "recall@20", "ndcg@10", "ndcg@20")
SHORT = {"recall": "R", "ndcg": "N", "precision": "P", "map": "MAP", "hit": "HR"}
VARIANTS = ("none", "mr")
DAMAGE, DAMAGE_OF = ("corruption.eta", "corruption.eta_e"), "corruption.eta_of."
Value = Number | str


def clean_rows(table: pd.DataFrame) -> pd.DataFrame:
    """Jobs on undamaged, unedited data."""
    undamaged = (table["corruption.eta"] == 0) & (table["corruption.eta_e"] == 0) & (table["edit"] == "none")
    return table[undamaged & table["corruption.eta_of"].isna()]


def short_metric(metric: str) -> str:
    """R@10 for recall@10."""
    name, _, cutoff = metric.partition("@")
    return f"{SHORT.get(name, name)}@{cutoff}"


def table1(runs: Runs) -> Table:
    """Statistics of the data sets, published ones in rows of their own."""
    rows: list[list[Any]] = []
    for (label, _), group in runs.table.groupby(["dataset", "dataset_digest"]):
        known = next((found for found in group["statistics"] if isinstance(found, Mapping)), None)
        if known is not None:
            rows.append(_sizes(str(label), known))
            name = published.same_data(str(label), "lightgcn", group)
            rows += [] if name is None else [_published_sizes(name)]
    columns = ("data", "source", "users", "items", "interactions", "sparsity", "features")
    printed = any(row[1] == "published" for row in rows)
    caption = f"Published: {published.facts()['source']}, Table 1." if printed else ""
    return Table("table1", "Table 1. Statistics of the data", columns, rows, caption)


def _sizes(label: str, known: Mapping[str, Any]) -> list[Any]:
    sparsity = 1 - known["interactions"] / (known["users"] * known["items"])
    widths = ", ".join(f"{name} {width}" for name, width in known["widths"].items()) or "none"
    sizes = [f"{known[key]:,}" for key in ("users", "items", "interactions")]
    return [label, "measured", *sizes, f"{sparsity:.3%}", widths]


def _published_sizes(name: str) -> list[Any]:
    users, items, interactions, sparsity = published.published_sizes(name)
    return [name, "published", f"{users:,}", f"{items:,}", f"{interactions:,}", f"{sparsity:.3%}", _widths()]


def _widths() -> str:
    return ", ".join(f"{name} {width}" for name, width in published.WIDTHS.items())


def table2(runs: Runs) -> Table:
    """Base and +MR on clean data, the better mean bold; published numbers and the difference in their own columns."""
    table = clean_rows(runs.table)
    table = table[table["rectifier"].isin(VARIANTS)]
    lost = failed_cells(runs)
    extra = [axis for axis in axes_of(table) if axis not in ("dataset", "backbone", "rectifier")]
    for axis in extra:
        table = spread(table, axis)
    named = set(zip(table["dataset"], table["backbone"], strict=True)) | {cell[:2] for cell in lost}
    rows: list[list[Any]] = []
    for label in sorted({label for label, _ in named}):
        for backbone in in_order("backbone", [name for other, name in named if other == label]):
            part = table[(table["dataset"] == label) & (table["backbone"] == backbone)]
            for group in [rows for _, rows in part.groupby(key_of(part, extra))] if len(part) else [part]:
                options = {key: group.iloc[0][key] for key in extra if plain(group.iloc[0][key])} if len(group) else {}
                name = f"{backbone} {describe(options)}" if options else backbone
                rows += _cell_rows(label, backbone, name, group, lost)
    return _with_caption(runs, table, rows)


def _with_caption(runs: Runs, table: pd.DataFrame, rows: list[list[Any]]) -> Table:
    columns = ["data", "backbone", "metric", "base", "+MR", "seeds"]
    caption = ["Mean over seeds on clean test data; the better of base and +MR is bold, significant or not."]
    caption += [caption_facts(only(runs, table))] if len(table) else []
    if any(value != "" for row in rows for value in row[6:]):
        columns += ["published base", "published +MR", "ours - published, base", "ours - published, +MR"]
        paper, other = published.facts()["source"], published.facts()["other_published"]["source"]
        caption += [f"Published: {paper}, Table 2; BPR and LightGCN: {other}."]
    rows = [row[: len(columns)] for row in rows]
    groups = [(str(label), group) for label, group in table.groupby("dataset")]
    notes = [published.why_not(label) for label, group in groups if not published.same_data(label, "freedom", group)]
    shown = [note for note in notes if note]
    return Table("table2", "Table 2. Clean performance", columns, rows, " ".join(caption), shown)


def failed_cells(runs: Runs) -> dict[tuple[str, str, str], str]:
    """Either "OOM" or "failed" by data, backbone and rectifier of clean cells that failed."""
    cells: dict[tuple[str, str, str], str] = {}
    for failure in runs.failures:
        values = failure.values
        clean = all(float(values.get(key, 0)) == 0 for key in values if key in DAMAGE or key.startswith(DAMAGE_OF))
        if clean and {"dataset", "backbone", "rectifier"} <= values.keys() and values.get("edit", "none") == "none":
            cell = (values["dataset"], values["backbone"], values["rectifier"])
            cells[cell] = "OOM" if failure.out_of_memory or cells.get(cell) == "OOM" else "failed"
    return cells


def _cell_rows(
    label: str, backbone: str, name: str, rows: pd.DataFrame, lost: Mapping[tuple[str, str, str], str]
) -> list[list[Any]]:
    same = published.same_data(label, backbone, rows) if len(rows) else None
    groups = {kind: rows[rows["rectifier"] == kind] for kind in VARIANTS}
    base, repaired = (group["seed"].nunique() for group in groups.values())
    found = []
    for metric in METRICS:
        means = {kind: float(group[f"test/{metric}"].mean()) for kind, group in groups.items() if len(group)}
        best = max(means.values()) if len(set(means.values())) == len(VARIANTS) else None
        ours: list[Value] = [
            Number(means[kind], bold=means[kind] == best)
            if kind in means
            else lost.get((label, backbone, kind), "not run")
            for kind in VARIANTS
        ]
        paper = [published.clean_number(same, backbone, kind, metric) if same else None for kind in VARIANTS]
        gaps = [_gap(means.get(kind), number) for kind, number in zip(VARIANTS, paper, strict=True)]
        seeds = str(base) if base == repaired else f"{base} / {repaired}"
        found.append([label, name, short_metric(metric), *ours, seeds, *map(_printed, paper), *gaps])
    return found


def _printed(number: published.Published | None) -> Value:
    if number is None:
        return ""
    return "OOM" if number.value is None else Number(number.value)


def _gap(mean: float | None, number: published.Published | None) -> Value:
    if mean is None or number is None or number.value is None:
        return ""
    return Number(mean - number.value, signed=True)
