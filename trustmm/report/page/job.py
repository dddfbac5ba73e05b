"""Table and figures of one job, for its folder and its page in the tracking store."""

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from trustmm.report.palette import BLUE, GREY, ORANGE
from trustmm.store.files import atomic
from trustmm.store.job_folder import Stored, read_history

matplotlib.use("Agg")
METRICS = "metrics.csv"
GROUPS = ("touched", "untouched", "cold")


def job_page(stored: Stored) -> str:
    """Draw the figures of a finished job and write all its numbers into its folder; its page as Markdown."""
    draw_job(stored, read_history(stored.folder))
    with atomic(stored.folder / METRICS) as path:
        path.write_text(metrics_text(stored.summary), encoding="utf-8")
    return describe_job(stored)


def describe_job(stored: Stored) -> str:
    """The outcome as a small Markdown table, the first thing on a run's page."""
    names = ("recall@10", "ndcg@10", "recall@20", "ndcg@20")
    rows = {"validation": stored.summary["valid"], "**test**": stored.summary["test"]}
    lines = [f"| | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    lines += [f"| {split} | {' | '.join(f'{row[name]:.4f}' for name in names)} |" for split, row in rows.items()]
    facts = f"{stored.summary['evaluated_users']} users, best epoch {stored.summary['best_epoch']}"
    return "\n".join([*lines, "", f"{facts}; figures, all numbers ({METRICS}) and per-user values: Artifacts."])


def metrics_text(summary: Mapping[str, Any]) -> str:
    """Every number of a job as CSV: part, metric, value."""
    parts = {split: summary[split] for split in ("test", "valid")}
    parts |= {f"test, {mask}": values for mask, values in summary["test_by_mask"].items()}
    parts |= {"diagnostics": summary["diagnostics"]}
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("part", "metric", "value"))
    writer.writerows((part, name, value) for part, values in parts.items() for name, value in values.items())
    return text.getvalue()


def draw_job(stored: Stored, history: Sequence[Mapping[str, Any]]) -> None:
    """Write ``history.png`` and, where features were rectified, ``repair.png`` into the folder of a job."""
    epochs = [line for line in history if line["stage"] == "backbone"]
    if epochs:
        with atomic(stored.folder / "history.png") as path:
            _history(epochs, stored).savefig(path)
    repair = {name: value for name, value in stored.summary["diagnostics"].items() if name.count("/") == 2}
    if repair:
        with atomic(stored.folder / "repair.png") as path:
            _repair(repair).savefig(path)


def _history(epochs: Sequence[Mapping[str, Any]], stored: Stored) -> Figure:
    figure = Figure(figsize=(8, 3), layout="constrained", dpi=120)
    loss, valid = figure.subplots(1, 2)
    number = [epoch["epoch"] for epoch in epochs]
    for name, style in zip(epochs[0]["losses"], ("-", "--", ":", "-."), strict=False):
        loss.plot(number, [epoch["losses"][name] for epoch in epochs], style, color=BLUE, label=name)
    loss.set(xlabel="epoch", ylabel="training loss", yscale="log")
    if epochs[0]["losses"]:
        loss.legend(frameon=False)
    valid.plot(number, [epoch["valid"]["recall@10"] for epoch in epochs], color=BLUE)
    valid.axvline(stored.summary["best_epoch"], color=GREY, linewidth=0.8)
    best = stored.summary["best_epoch"]
    side, text = ("left", f" best, epoch {best}") if best < number[-1] / 2 else ("right", f"best, epoch {best} ")
    valid.annotate(text, (best, 0), color=GREY, ha=side, va="bottom")
    valid.set(xlabel="epoch", ylabel="validation Recall@10", ylim=(0, None))
    return figure


def _repair(numbers: Mapping[str, float]) -> Figure:
    """Cosine to the clean features and overlap of neighbours, before and after, by modality and group."""
    modalities = sorted({name.split("/")[0] for name in numbers})
    figure = Figure(figsize=(8, 2.6 * len(modalities)), layout="constrained", dpi=120)
    rows = figure.subplots(len(modalities), 2, squeeze=False)
    quantities = (("to_clean", "cosine to the clean feature"), ("knn_overlap", "neighbours shared with clean"))
    for modality, axes in zip(modalities, rows, strict=True):
        groups = [group for group in GROUPS if f"{modality}/{group}/items" in numbers]
        for axis, (quantity, label) in zip(axes, quantities, strict=True):
            for offset, (state, colour) in enumerate((("observed", GREY), ("rectified", ORANGE))):
                heights = [numbers[f"{modality}/{group}/{state}_{quantity}"] or 0 for group in groups]
                places = [place + (offset - 0.5) * 0.38 for place in range(len(groups))]
                axis.bar(places, heights, width=0.36, color=colour, label=state)
            axis.set(ylabel=label, ylim=(0, 1.05), title=modality, xticks=range(len(groups)), xticklabels=groups)
    rows[0][0].legend(frameon=False)
    return figure
