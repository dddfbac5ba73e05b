"""What stands beside a gain or a loss to explain it: the repair itself, and how well an edit's prior is aligned."""

from collections.abc import Iterable
from math import isnan

import pandas as pd

from trustmm.report.runs.cells import axes_of, key_of, pairs, plain
from trustmm.report.runs.read import Runs
from trustmm.report.table.caption import caption_facts
from trustmm.report.table.paper import short_metric
from trustmm.report.table.study import HEADLINE
from trustmm.report.table.table import Number, Table

REPAIR = {
    "eta_hat": "estimated eta",
    "touched_auc": "AUC touched",
    "brier": "Brier",
    "touched/observed_to_clean": "touched to clean, before",
    "touched/rectified_to_clean": "after",
    "untouched/rectified_to_clean": "untouched to clean, after",
    "untouched/observed_knn_overlap": "untouched neighbours, before",
    "untouched/rectified_knn_overlap": "after ",
    "hub_gini": "Gini, used plan",
    "hub_gini_row_norm": "Gini, row norm",
}
"""Diagnostics of a repair and their columns."""
JUDGED = ("/touched/rectified_to_clean", "/untouched/rectified_to_clean")
ALIGNMENT = {
    "auc_heldout": ("AUC held out", 2),
    "auc_injected": ("AUC injected", 2),
    "auc_deleted": ("AUC deleted", 2),
    "alignment": ("A", 3),
    "alignment_test": ("A of test", 3),
    "spurious_hat": ("spurious, estimated", 2),
    "ratio": ("ratio", 2),
    "best_ratio": ("best ratio", 2),
    "regret": ("regret", 4),
    "pruned_spurious": ("spurious among pruned", 3),
    "spurious_found": ("spurious found", 3),
    "precision_folds": ("added: left out", 3),
    "precision_heldout": ("added: held out", 3),
    "precision_deleted": ("added: deleted", 3),
    "users_receiving": ("users receiving", 0),
    "items_receiving": ("items receiving", 0),
}
"""Diagnostics of an edit, their columns and digits."""


def repair_table(runs: Runs) -> Table:
    """Does the repair repair? Diagnostics of every rectified cell and modality, mean over seeds."""
    table = runs.table[runs.table["rectifier"] != "none"]
    names = [name for name in table.columns if name.startswith("diagnostics/") and name.endswith(JUDGED)]
    axes = [axis for axis in axes_of(table) if not axis.startswith(("backbone", "training"))]
    rows = []
    for _, part in table.groupby(key_of(table, axes), sort=False):
        for modality in sorted({name.split("/")[1] for name in names}):
            means = repair_means(part, modality, REPAIR)
            if not all(map(isnan, means.values())):
                numbers = [Number(mean, 3 if name == "brier" else 2) for name, mean in means.items()]
                rows.append([*(plain(part.iloc[0][axis]) for axis in axes), modality, *numbers])
    caption = (
        "Mean over seeds. Touched: items whose features were corrupted; cosine to the clean feature before and after "
        "the repair; Brier: mean squared error of the probability of being wrong; "
        "neighbours: share of the 10 nearest items that are also nearest with clean features. "
        f"{caption_facts(runs, table)}"
    )
    return Table("repair", "The repair itself", [*axes, "modality", *REPAIR.values()], rows, caption)


def repair_means(rows: pd.DataFrame, modality: str, names: Iterable[str]) -> dict[str, float]:
    """Means of these diagnostics of one modality over the jobs of a cell; NaN for one that no job has."""
    once = rows.drop_duplicates(["seed", "backbone"])
    return {name: _mean_of(once.get(f"diagnostics/{modality}/{name}")) for name in names}


def alignment_table(runs: Runs) -> Table:
    """Every edited cell's gain over its base, and the alignment of the prior that chose the edges, means over seeds."""
    table, metric = runs.table, HEADLINE[0]
    axes = axes_of(table)
    known = {name: style for name, style in ALIGNMENT.items() if f"diagnostics/edit/{name}" in table}
    rows = []
    for pair in pairs(table, "edit", "none", f"test/{metric}"):
        treated = table[table["job_id"].isin([job for job, _ in pair.jobs.values()])]
        labels = [plain({**pair.values, **pair.treated}[axis]) for axis in axes]
        numbers = [Number(_mean_of(treated[f"diagnostics/edit/{name}"]), digits) for name, (_, digits) in known.items()]
        rows.append([*labels, Number(pair.interval.estimate, signed=True), *numbers])
    caption = (
        "Means over seeds shared with the base. AUC: how well the prior tells apart held-out or deleted "
        "pairs from unobserved ones, and original from injected edges; 0.5: not at all. Added: share of the selected "
        "pairs that are held out, or that the noise had deleted. A: alignment of the training edges and of test pairs, "
        "by priors that saw neither; regret: what the chosen ratio misses of the best one's. "
        f"{caption_facts(runs, table)}"
    )
    columns = [*axes, f"{short_metric(metric)} minus base", *(column for column, _ in known.values())]
    return Table("alignment", "Gain of the edit and alignment of its prior", columns, rows, caption)


def _mean_of(values: pd.Series | None) -> float:
    return float("nan") if values is None else float(pd.to_numeric(values).mean())
