"""Is a probability of being wrong what it says? Share that is wrong over what was said."""

import pandas as pd
from matplotlib.figure import Figure

from trustmm.report.figure.line import ETA, GREY, SMALL, Drawing, tidy
from trustmm.report.palette import IN_TURN
from trustmm.report.runs.read import Runs
from trustmm.report.table.caption import seeds_fact

LEAST_ITEMS = 20
"""Items of a tenth, in all seeds, that give a point."""


def reliability_diagram(runs: Runs) -> Drawing | None:
    """A panel per modality, a line per eta; on the diagonal probabilities are calibrated."""
    table = runs.table[(runs.table["rectifier"] == "trust") & (runs.table[ETA] > 0)]
    names = [name.split("/") for name in table.columns if name.startswith("diagnostics/") and name.endswith("_said")]
    modalities = sorted({parts[1] for parts in names})
    if not modalities or not len(table):
        return None
    figure = Figure(figsize=(3.4 * len(modalities), 3.4), layout="constrained", dpi=150)
    for axis, modality in zip(figure.subplots(1, len(modalities), squeeze=False)[0], modalities, strict=True):
        axis.plot([0, 1], [0, 1], color=GREY, linewidth=1)
        for colour, (eta, rows) in zip(IN_TURN, table.groupby(ETA), strict=False):
            points = _points(rows, modality)
            axis.plot(
                [said for said, _ in points], [true for _, true in points], "o-", color=colour, label=f"eta {eta:g}"
            )
        axis.set_title(modality, fontsize=9)
        axis.set_xlabel("predicted probability of being wrong", fontsize=SMALL)
        axis.set_ylabel("observed share that is wrong", fontsize=SMALL)
        axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=3, frameon=False, fontsize=7)
        tidy(axis)
    caption = (
        "Rectifier trust. Items with training edges in tenths of their probability of being wrong, those of all seeds "
        f"together; a tenth with fewer than {LEAST_ITEMS} items is left out. {seeds_fact(table)}"
    )
    return Drawing("reliability", "Is the probability of being wrong calibrated?", figure, caption)


def _points(rows: pd.DataFrame, modality: str) -> list[tuple[float, float]]:
    """Mean probability and share that is wrong of each tenth."""
    once, points = rows.drop_duplicates("seed"), []
    for tenth in range(10):
        start = f"diagnostics/{modality}/reliability_{tenth / 10:.1f}_"
        if f"{start}items" in once:
            part = once[[f"{start}{what}" for what in ("items", "said", "true")]].dropna().astype(float)
            items, said, true = part.to_numpy().T
            if items.sum() >= LEAST_ITEMS:
                points.append((float(items @ said / items.sum()), float(items @ true / items.sum())))
    return points
