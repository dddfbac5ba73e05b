"""``make demo``: the main question on embedded data, base and rectified FREEDOM, as a table and a figure.

A second look repeats it with ``dataset.content=0``: features that are pure noise, where a repair has nothing to find.
"""

import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import matplotlib
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from trustmm.results import RESULT, read_cells

matplotlib.use("Agg")
OUTPUTS = Path("outputs")
ETAS, SEEDS = (0.0, 0.2, 0.4), (0, 1)
STUDIES = {
    "demo": (f"corruption.eta={','.join(f'{eta:g}' for eta in ETAS)}",),
    "demo_null": ("dataset.content=0",),
}
"""Sweep folder and what its command adds to `SWEEP`."""
SWEEP = (
    "experiment=demo",
    "backbone=freedom",
    "rectifier=none,mr",
    f"seed={','.join(map(str, SEEDS))}",
    "corruption.seed=${seed}",
)
LABELS = {"none": "base", "mr": "rectified (mr)"}
COLOURS = {"none": "#666666", "mr": "#E69F00"}


def main() -> None:
    """Run both sweeps (or reuse what is finished), then show them."""
    console, started = Console(), time.monotonic()
    for name, extra in STUDIES.items():
        run_sweep(name, extra, console)
    results = {name: read_sweep(OUTPUTS / "sweeps" / name) for name in STUDIES}
    console.print(recall_table("Recall@10 on test: features of a share eta of items permuted", results["demo"]))
    console.print(recall_table("The same with noise as features: nothing to repair", results["demo_null"]))
    console.print(repair_table(results["demo"]))
    figure = OUTPUTS / "demo.png"
    draw_curves(results["demo"]).savefig(figure, dpi=150)
    console.print(f"figure: {figure}   results: {OUTPUTS}/sweeps/demo/cells.csv   ({time.monotonic() - started:.0f} s)")
    console.print("browse all runs: make ui   (http://127.0.0.1:5000, needs no network)")


def run_sweep(name: str, extra: Sequence[str], console: Console) -> None:
    """One study, as a user would type it; its seeds run side by side."""
    command = ["-m", "trustmm", "-m", *SWEEP, *extra, f"hydra.sweep.dir={OUTPUTS}/sweeps/{name}"]
    shown = " ".join(f"'{word}'" if "$" in word else word for word in command)
    console.print(f"$ python {shown}", soft_wrap=True, highlight=False)
    if subprocess.run([sys.executable, *command]).returncode:
        raise SystemExit("the sweep failed, see above; the same command tries again what did not finish")


def read_sweep(folder: Path) -> list[Mapping[str, Any]]:
    """Summaries of all finished cells of a sweep."""
    jobs = dict.fromkeys(cell["job_id"] for cell in read_cells(folder))
    return [json.loads((folder.parent.parent / job / RESULT).read_text(encoding="utf-8")) for job in jobs]


def values(results: Sequence[Mapping[str, Any]], eta: float, rectifier: str) -> dict[int, Mapping[str, Any]]:
    """The results of one cell by seed."""
    return {
        result["config"]["seed"]: result
        for result in results
        if result["config"]["corruption"]["eta"] == eta and _rectifier(result) == rectifier
    }


def recall_table(title: str, results: Sequence[Mapping[str, Any]]) -> Table:
    """Mean over seeds of base and rectified, and the paired difference of every seed."""
    table = Table(title=title, caption=f"mean of {len(SEEDS)} seeds (training and corruption); differences are paired")
    for column in ("eta", *LABELS.values(), "difference", "by seed"):
        table.add_column(column, justify="right")
    for eta in sorted({result["config"]["corruption"]["eta"] for result in results}):
        recall = {
            name: {seed: result["test"]["recall@10"] for seed, result in values(results, eta, name).items()}
            for name in LABELS
        }
        gains = [recall["mr"][seed] - recall["none"][seed] for seed in sorted(recall["mr"])]
        cells = [f"{mean(recall[name].values()):.4f}" for name in LABELS]
        table.add_row(f"{eta:g}", *cells, f"{mean(gains):+.4f}", " ".join(f"{gain:+.4f}" for gain in gains))
    return table


def repair_table(results: Sequence[Mapping[str, Any]]) -> Table:
    """Does the repair repair? Measured against the clean features."""
    table = Table(title="The repair itself, before -> after", caption="touched: items whose features were permuted")
    for column in ("eta", "modality", "estimated eta", "cosine to clean, touched", "untouched", "neighbours, touched"):
        table.add_column(column, justify="right")
    for eta in sorted({result["config"]["corruption"]["eta"] for result in results}):
        found = [result["diagnostics"] for result in values(results, eta, "mr").values()]
        for modality in sorted({name.split("/")[0] for name in found[0] if name.count("/") == 2}):
            pairs = [("touched", "to_clean"), ("untouched", "to_clean"), ("touched", "knn_overlap")]
            cells = [_before_after(found, modality, group, quantity) for group, quantity in pairs]
            table.add_row(f"{eta:g}", modality, f"{_mean(found, f'{modality}/eta_hat'):.2f}", *cells)
    return table


def draw_curves(results: Sequence[Mapping[str, Any]]) -> Figure:
    """Recall@10 over eta: mean line and every seed."""
    figure = Figure(figsize=(5, 3.4), layout="constrained")
    axis = figure.subplots()
    for name, label in LABELS.items():
        cells = [[result["test"]["recall@10"] for result in values(results, eta, name).values()] for eta in ETAS]
        marker = "o" if name == "none" else "s"
        axis.plot(ETAS, [mean(cell) for cell in cells], marker=marker, color=COLOURS[name], label=label)
        for eta, cell in zip(ETAS, cells, strict=True):
            axis.plot([eta] * len(cell), cell, marker, color=COLOURS[name], alpha=0.3, markersize=4)
    axis.set(xlabel="share of items with permuted features, eta", ylabel="test Recall@10", xticks=ETAS)
    axis.set_title(f"FREEDOM on synthetic data, {len(SEEDS)} seeds", fontsize=10)
    axis.legend(frameon=False)
    return figure


def _rectifier(result: Mapping[str, Any]) -> str:
    return "none" if result["options"]["rectifier"]["_target_"].endswith("NoRectifier") else "mr"


def _mean(found: Sequence[Mapping[str, Any]], name: str) -> float:
    known = [numbers[name] for numbers in found if numbers.get(name) is not None]
    return mean(known) if known else float("nan")


def _before_after(found: Sequence[Mapping[str, Any]], modality: str, group: str, quantity: str) -> str:
    before, after = (_mean(found, f"{modality}/{group}/{state}_{quantity}") for state in ("observed", "rectified"))
    return "" if before != before else f"{before:.2f} -> {after:.2f}"


if __name__ == "__main__":
    main()
