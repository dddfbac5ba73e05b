"""``make bench``: time and memory of the hot kernels and of every backbone; writes docs/performance.md.

Every line is measured in a process of its own, so that its peak memory is its own. Real data are used where
../shared/data is, synthetic data of the same size otherwise.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
import warnings

import numpy as np
import torch
from measures import BACKBONES, DATA, ELECTRONICS_SIZE, MEASURES, REPEATS, ROOT, SCALE_BATCHES, SIZES, peak_gib

from trustmm.process.allocator import keep_freed_memory

REFERENCE = {
    ("lightgcn", "sports_attr"): (6.5, 4.96),
    ("freedom", "sports_attr"): (13.9, 5.31),
    ("vbpr", "tiktok"): (0.49, 0.65),
    ("lightgcn", "tiktok"): (0.65, 0.62),
    ("freedom", "tiktok"): (1.07, 0.63),
    ("mgcn", "tiktok"): (3.54, 0.67),
    ("smore", "tiktok"): (4.64, 0.69),
    ("lattice", "tiktok"): (24.2, 15.7),
    ("bm3", "tiktok"): (1.31, 0.62),
    ("pgl", "tiktok"): (3.04, 0.68),
    ("lgmrec", "tiktok"): (11.5, 0.68),
    ("mmgcf", "tiktok"): (0.71, 0.62),
    ("dragon", "tiktok"): (12.7, 0.60),
    ("slmrec", "tiktok"): (4.60, 0.63),
}
"""Seconds of an epoch and of a ranking by the public reference on 2 quiet cores, as given to us; not measured here."""


def measure(*arguments: str) -> dict:
    """One measurement in a fresh process."""
    command = [sys.executable, __file__, "--only", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    if done.returncode:
        raise SystemExit(f"{' '.join(arguments)} failed:\n{done.stderr}")
    result = json.loads(done.stdout.splitlines()[-1])
    print(*arguments, json.dumps(result), flush=True)
    return result


def _beside(other: tuple[float, float] | None, place: int, ours: float) -> str:
    return "" if other is None else f"{other[place]:g} ({other[place] / ours:.1f}x)"


def report() -> None:
    """All measurements, as docs/performance.md."""
    cores = f"{os.cpu_count()} cores ({torch.get_num_threads()} threads)"
    found = (
        f"{platform.machine()}, {cores}, torch {torch.__version__}, numpy {np.__version__}, {time.strftime('%Y-%m-%d')}"
    )
    source = "real data" if DATA.is_dir() else "synthetic data of the same size"
    lines = ["# Performance", "", f"Written by `make bench` ({found}; {source}). CPU only: no GPU was there.", ""]
    for part in (_backbones, _profiles, _kernels, _whole_steps, _electronics):
        lines += [*part(), ""]
    (ROOT / "docs" / "performance.md").write_text("\n".join(lines), encoding="utf-8")


def _backbones() -> list[str]:
    lines = [
        f"Least of {REPEATS} times each. The reference is the public toolbox on 2 cores, as given to us, not measured",
        "here; in brackets how many times longer it takes. *Adam* is the optimiser's share of an epoch (every batch",
        "reads and writes every parameter), *product* the bare inner products of all test users with all items: what",
        "surrounds them cannot undercut these.",
        "",
        "| backbone | data | epoch, s | reference | Adam, s | ranking, s | reference | product, s | peak memory, GiB |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for data_name in SIZES:
        for name in BACKBONES:
            row, other = measure("backbone", name, data_name), REFERENCE.get((name, data_name))
            cells = [f"{row['epoch_s']:.2f}", _beside(other, 0, row["epoch_s"]), f"{row['adam_s']:.2f}"]
            cells += [f"{row['ranking_s']:.2f}", _beside(other, 1, row["ranking_s"]), f"{row['product_s']:.2f}"]
            lines.append(f"| {name} | {data_name} | {' | '.join(cells)} | {row['peak_gib']:.1f} |")
    return lines


def _profiles() -> list[str]:
    lines = ["Where an epoch's time goes (torch.profiler, share of the time in each kernel itself):", ""]
    for name, data_name in REFERENCE:
        shares = measure("profile", name, data_name)["shares"]
        lines.append(f"- {name} on {data_name}: {', '.join(f'{key} {share:.0%}' for key, share in shares.items())}")
    return lines


def _kernels() -> list[str]:
    lines = ["| kernel, on Sports | ours, s | naive, s | ratio |", "|---|---|---|---|"]
    for name, row in measure("kernels").items():
        if isinstance(row, dict):
            ratio = row["naive_s"] / row["ours_s"]
            lines.append(f"| {name} | {row['ours_s']:.4f} | {row['naive_s']:.4f} | {ratio:.1f} |")
    parts = [f"{name} {value * 1000:.1f} ms" for name, value in measure("segments").items() if name != "peak_gib"]
    return [*lines, "", f"Segment log-sum-exp of 1.3 million entries in 63,001 segments, float64: {', '.join(parts)}."]


def _whole_steps() -> list[str]:
    row = measure("rectify")
    sizes = f"peak {row['peak_gib']:.1f} GiB (inputs and output {row['inputs_and_output_gib']:.1f} GiB)"
    lines = [f"Rectifying 63,001 items with 4096 + 384 features: {row['seconds']:.0f} s, {sizes}.", ""]
    row = measure("edit")
    edits = [f"{name} {row[f'{op}_s']:.0f} s" for op, name in (("prune", "pruning"), ("complete", "completing"))]
    lines += [f"Editing 5 % of {row['pairs']:,} edges, 192,403 users and 63,001 items, 10 candidates of each:"]
    lines += [f"{', '.join(edits)}, peak {row['peak_gib']:.1f} GiB.", ""]
    row = measure("prepare")
    raw, core = (
        f"{row[f'{when}_interactions']:,} reviews of {row[f'{when}_users']:,} users" for when in ("raw", "core")
    )
    return [*lines, f"Preparing {raw} (5-core: {core}): {row['seconds']:.0f} s, peak {row['peak_gib']:.1f} GiB."]


def _electronics() -> list[str]:
    users, items, pairs = ELECTRONICS_SIZE
    lines = [
        f"Synthetic data of Electronics' size ({users:,} users, {items:,} items, {pairs:,} interactions, 4096 + 384",
        f"features): {SCALE_BATCHES} training batches and one ranking of all test users. The first backbone that",
        "needs the item graphs builds them; the others find them in the cache.",
        "",
        "| backbone | building, s | batch, s | ranking, s | peak memory, GiB |",
        "|---|---|---|---|---|",
    ]
    for name in BACKBONES:
        row = measure("scale", name)
        cells = [f"{row[key]:.2f}" for key in ("build_s", "batch_s", "ranking_s")]
        lines.append(f"| {name} | {' | '.join(cells)} | {row['peak_gib']:.1f} |")
    return lines


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", metavar="NAME", help="one measurement: " + ", ".join(MEASURES))
    only = parser.parse_args().only
    if only:
        keep_freed_memory()
        result = MEASURES[only[0]](*only[1:])
        print(json.dumps(result | {"peak_gib": peak_gib()}))
    else:
        report()
