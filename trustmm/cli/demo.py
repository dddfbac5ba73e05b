"""``make demo``: the main question on embedded data, FREEDOM without and with two repairs, as tables and a figure.

A second look repeats it with ``dataset.content=0``: features that are pure noise, where a repair has nothing to find.
"""

import argparse
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from math import isnan
from pathlib import Path

from rich.console import Console
from rich.table import Table

from trustmm.options.explain import quoted
from trustmm.report.figure.curves import modality_curves
from trustmm.report.figure.line import ETA
from trustmm.report.runs.cells import pairs
from trustmm.report.runs.read import Runs, read_sweeps
from trustmm.report.table.diagnosis import repair_means
from trustmm.report.table.environment import mixed
from trustmm.store.files import atomic

ETAS, SEEDS = (0.0, 0.2, 0.4), (0, 1)
STUDIES = {
    "demo": (f"corruption.eta={','.join(f'{eta:g}' for eta in ETAS)}",),
    "demo_null": ("dataset.content=0",),
}
"""Sweep folder and what its command adds to `SWEEP`."""
SWEEP = (
    "experiment=demo",
    "backbone=freedom",
    "rectifier=none,mr,trust",
    f"seed={','.join(map(str, SEEDS))}",
    "corruption.seed=${seed}",
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run both sweeps (or reuse what is finished), then show them."""
    parser = argparse.ArgumentParser(
        "trustmm demo", description="Answer the main question on built-in data in minutes."
    )
    parser.add_argument("--outputs", type=Path, default=Path("outputs"), help="folder of results; default: outputs")
    outputs = parser.parse_args(arguments).outputs
    console, started = Console(), time.monotonic()
    for name, extra in STUDIES.items():
        run_sweep(name, extra, outputs, console)
    results = {name: read_sweeps([outputs / "sweeps" / name]) for name in STUDIES}
    console.print(recall_table("Recall@10 on test: features of a share eta of items permuted", results["demo"]))
    console.print(recall_table("The same with noise as features: nothing to repair", results["demo_null"]))
    console.print(repairs_table(results["demo"]))
    figure = outputs / "demo.png"
    drawing = modality_curves(results["demo"])
    assert drawing is not None
    with atomic(figure) as path:
        drawing.figure.savefig(path, dpi=150)
    console.print(f"figure: {figure}   results: {outputs}/sweeps/demo/cells.csv   ({time.monotonic() - started:.0f} s)")
    console.print("browse all runs: make ui   (http://127.0.0.1:5000, needs no network)")


def run_sweep(name: str, extra: Sequence[str], outputs: Path, console: Console) -> None:
    """One study, as a user would type it; its seeds run side by side."""
    elsewhere = [] if outputs == Path("outputs") else [quoted("output_dir", outputs)]
    folder = quoted("hydra.sweep.dir", outputs / "sweeps" / name)
    command = ["-m", "trustmm", "-m", *SWEEP, *extra, *elsewhere, folder]
    console.print(f"$ python {shlex.join(command)}", soft_wrap=True, highlight=False)
    if subprocess.run([sys.executable, *command]).returncode:
        raise SystemExit("the sweep failed, see above; repeat the command to run the jobs that did not finish")


def recall_table(title: str, runs: Runs) -> Table:
    """Mean over seeds of base and each repair, and the paired difference of every seed."""
    caption = f"mean of {len(SEEDS)} seeds (training and corruption); differences are paired"
    table = plain_table(title, caption, "eta", "base", "repair", "repaired", "difference", "by seed")
    found = pairs(runs.table, "rectifier", "none", "test/recall@10", [ETA, "rectifier"])
    for pair in found:
        gain = pair.interval.estimate
        cells = [f"{pair.values[ETA]:g}", f"{pair.base:.4f}", pair.treated["rectifier"]]
        cells += [f"{pair.base + gain:.4f}", f"{gain:+.4f}"]
        table.add_row(*cells, " ".join(f"{value:+.4f}" for value in pair.by_seed.values()))
    notes = mixed(runs.table, [(f"eta {pair.values[ETA]:g}", pair) for pair in found])
    table.caption = "\n".join([str(table.caption), *notes])
    return table


def plain_table(title: str, caption: str, *columns: str) -> Table:
    """An empty table of numbers without lines, whose cells are never broken: it fits 80 columns."""
    table = Table(title=title, caption=caption, box=None, title_justify="left", caption_justify="left")
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    return table


def repairs_table(runs: Runs) -> Table:
    """Does a repair repair, and what does it do to the items that were right? Measured against the clean features."""
    caption = "wrong: items whose features were permuted; neighbours: of the 10 nearest with clean features, share kept"
    columns = ("eta", "repair", "modality", "estimated\neta", "cosine\nto clean,\nwrong", "right", "neighbours,\nright")
    table = plain_table("The repairs themselves, before -> after", caption, *columns)
    shown = ("touched/{}_to_clean", "untouched/{}_to_clean", "untouched/{}_knn_overlap")
    states = [[name.format(state) for name in shown] for state in ("observed", "rectified")]
    repaired = runs.table[runs.table["rectifier"] != "none"]
    for (eta, repair), rows in repaired.groupby([ETA, "rectifier"]):
        for modality in sorted(rows.iloc[0]["modalities"]):
            (estimate,) = repair_means(rows, modality, ["eta_hat"]).values()
            before, after = (repair_means(rows, modality, names).values() for names in states)
            changes = ["" if isnan(a) else f"{a:.2f} -> {b:.2f}" for a, b in zip(before, after, strict=True)]
            table.add_row(f"{eta:g}", repair, modality, f"{estimate:.2f}", *changes)
    return table
