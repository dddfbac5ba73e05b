"""``make bench``: time and memory of the hot kernels and of every backbone; writes docs/performance.md.

Every line is measured in a process of its own, so that its peak memory is its own. Real data are used where
../shared/data is, synthetic data of the same size otherwise.
"""

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import time
import warnings
from collections.abc import Sequence

import numpy as np
import torch
from measures import BACKBONES, DATA, MEASURES, REPEATS, ROOT, SCALE_BATCHES, SIZES, SYNTHETIC, peak_gib
from quiet import DISTURBED, watched

from trustmm.process.allocator import keep_freed_memory

TIMES = ROOT.parent / "shared" / "reference_times.json"
"""Seconds of an epoch and of a ranking by the public reference, as given to us; not measured here."""
PAGE = ROOT / "docs" / "performance.md"
HEAD = "# Performance\nCPU only: no GPU was there. Each section says when and where it was measured.\n"
PROFILED = [("lightgcn", "sports_attr"), ("freedom", "sports_attr"), ("freedom", "tiktok"), ("smore", "tiktok")]
TRIES = 3


def reference() -> dict[tuple[str, str], tuple[float, float]]:
    """By backbone and data; empty where the file is not."""
    if not TIMES.is_file():
        return {}
    names = {"sports": "sports_attr"}
    return {
        (name, names.get(data, data)): (times["train_epoch_s"], times["rank_test_s"])
        for name, rows in json.loads(TIMES.read_text(encoding="utf-8"))["reference"].items()
        for data, times in rows.items()
    }


def measure(*arguments: str) -> dict:
    """One measurement in a fresh process, again where another program disturbed it; SystemExit if it always did."""
    command = [sys.executable, __file__, "--only", *arguments]
    for _ in range(TRIES):
        done, others = watched(lambda: subprocess.run(command, capture_output=True, text=True, cwd=ROOT))
        if done.returncode:
            raise SystemExit(f"{' '.join(arguments)} failed:\n{done.stderr}")
        result = json.loads(done.stdout.splitlines()[-1])
        print(*arguments, json.dumps(result | {"others": round(others, 3)}), flush=True)
        if others <= DISTURBED:
            return result
    raise SystemExit(
        f"{' '.join(arguments)}: other programs took {others:.0%} of a core, at most {DISTURBED:.0%} leave the numbers "
        "alone; stop them and start again"
    )


def _beside(other: tuple[float, float] | None, place: int, ours: float) -> str:
    return "" if other is None else f"{other[place]:g} ({other[place] / ours:.1f}x)"


def sections(names: Sequence[str]) -> None:
    """Measure these sections of docs/performance.md and put each into its place as soon as it is known."""
    cores = f"{os.cpu_count()} cores ({torch.get_num_threads()} threads)"
    source = "real data" if DATA.is_dir() else "synthetic data of the same size"
    versions = f"torch {torch.__version__}, numpy {np.__version__}"
    for name in names:
        title, part = SECTIONS[name]
        lines = part()
        where = f"{platform.machine()}, {cores}, {versions}, {time.strftime('%Y-%m-%d')}, {source}"
        text = "\n".join([f"`make bench PARTS={name}` ({where}):", "", *lines])
        old = dict(re.findall(r"^## (.+?)\n+(.*?)\s*(?=^## |\Z)", PAGE.read_text(encoding="utf-8"), re.M | re.S))
        titles = [title for title, _ in SECTIONS.values()]
        found = {title: body for title, body in {**old, title: text}.items() if title in titles}
        whole = [f"## {title}\n{found[title]}\n" for title in titles if title in found]
        PAGE.write_text("\n".join([HEAD, *whole]), encoding="utf-8")


def _backbones() -> list[str]:
    can, other = measure("machine"), reference()
    lines = [
        f"Least of {REPEATS} times each. The reference is the public toolbox on 2 cores, as given to us, not measured",
        "here; in brackets how many times longer it takes. *Adam* is the optimiser's share of an epoch (every batch",
        "reads and writes every parameter but large tables of rows, which are not counted), *product* the bare inner",
        "products of all test users with all items: what",
        "surrounds them cannot undercut these. *Limit* is the larger of two times an epoch cannot undercut, as a share",
        f"of the epoch: its kernels' bytes at {can['bytes_per_s'] / 1e9:.0f} GB/s (a copy within the caches), and the",
        f"operations of its matrix products at {can['flops_per_s'] / 1e9:.0f} GFLOP/s (a product of 2048 x 2048).",
        "",
        "| backbone | data | epoch, s | reference | limit | Adam, s | ranking, s | reference | product, s | GiB |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for data_name in SIZES:
        for name in BACKBONES:
            row, times = measure("backbone", name, data_name), other.get((name, data_name))
            least = max(row["bytes"] / can["bytes_per_s"], row["flops"] / can["flops_per_s"])
            limit = f"{least / row['epoch_s']:.0%}" if row["epoch_s"] else ""
            cells = [f"{row['epoch_s']:.2f}", _beside(times, 0, row["epoch_s"]), limit, f"{row['adam_s']:.2f}"]
            cells += [f"{row['ranking_s']:.2f}", _beside(times, 1, row["ranking_s"]), f"{row['product_s']:.2f}"]
            lines.append(f"| {name} | {data_name} | {' | '.join(cells)} | {row['peak_gib']:.1f} |")
    return lines


def _profiles() -> list[str]:
    lines = ["Where an epoch's time goes (torch.profiler, share of the time in each kernel itself):", ""]
    for name, data_name in PROFILED:
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
    edits = {"prune_fixed": "pruning 5 %", "complete_fixed": "completing 5 %"}
    edits |= {"prune_auto": "pruning as far as folds say", "complete_auto": "completing as far as folds say"}
    lines += [f"Editing {row['pairs']:,} edges, 192,403 users and 63,001 items, 10 candidates of each:", ""]
    for key, name in edits.items():
        lines += [f"- {name}: {row[f'{key}_s']:.0f} s, at most {row[f'{key}_peak_gib']:.1f} GiB"]
    lines += [""]
    row = measure("prepare")
    raw, core = (
        f"{row[f'{when}_interactions']:,} reviews of {row[f'{when}_users']:,} users" for when in ("raw", "core")
    )
    return [*lines, f"Preparing {raw} (5-core: {core}): {row['seconds']:.0f} s, peak {row['peak_gib']:.1f} GiB."]


def _electronics() -> list[str]:
    users, items, pairs = SYNTHETIC["electronics"]
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


SECTIONS = {
    "backbones": ("Every backbone", _backbones),
    "profiles": ("Where the time goes", _profiles),
    "kernels": ("Kernels", _kernels),
    "steps": ("Whole steps", _whole_steps),
    "electronics": ("Electronics' size", _electronics),
}


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", metavar="NAME", help="print one measurement: " + ", ".join(MEASURES))
    parser.add_argument("--parts", nargs="+", choices=SECTIONS, default=list(SECTIONS), help="sections of the page")
    options = parser.parse_args()
    if options.only:
        keep_freed_memory()
        result = MEASURES[options.only[0]](*options.only[1:])
        print(json.dumps(result | {"peak_gib": peak_gib()}))
    else:
        sections(options.parts)
