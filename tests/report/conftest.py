"""Finished jobs as a sweep leaves them, with made-up numbers: what a report reads."""

import csv
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trustmm.store.job_folder import write_result

METRICS = [f"{name}@{cutoff}" for name in ("recall", "ndcg") for cutoff in (10, 20)]
USERS = 40
AMAZON = {"visual": "image_feat.npy", "textual": "text_feat.npy"}
RECTIFIERS: dict[str, dict[str, Any]] = {
    "none": {"_target_": "trustmm.rectifier.none.NoRectifier"},
    "mr": {"matching": "sinkhorn", "rho": "estimate"},
    "mr_row_norm": {"matching": "row_norm", "rho": "estimate"},
    "mr_all_pairs": {"matching": "sinkhorn", "rho": 1},
}


class Sweep:
    """A sweep folder under construction."""

    def __init__(self, outputs: Path, name: str = "study") -> None:
        self.outputs, self.folder = outputs, outputs / "sweeps" / name
        self.folder.mkdir(parents=True)
        self.cells: list[dict[str, str]] = []

    def add(self, value: float = 0.1, **cell: Any) -> str:
        """A finished job whose test Recall@10 has mean `value`; returns its id."""
        summary = make_summary(value, {"ended": len(self.cells), **cell})
        job_id = summary["job_id"]
        folder = self.outputs / job_id
        noise = np.random.default_rng(int(job_id[:8], 16)).normal(0, 0.01, USERS)
        users = {f"clean/{name}": (value + noise - noise.mean()).astype(np.float32) for name in METRICS}
        write_result(folder, summary, {"users": np.arange(USERS), **users})
        self.record(" ".join(f"{key}={text}" for key, text in cell.items()), job_id)
        return job_id

    def record(self, cell: str, job_id: str = "", **more: str) -> None:
        """A line of cells.csv."""
        self.cells.append({"cell": cell, "job_id": job_id, "run_id": "", "status": "", "reason": "", **more})
        with (self.folder / "cells.csv").open("w", newline="", encoding="utf-8") as handle:
            writer = csv.DictWriter(handle, fieldnames=list(self.cells[0]))
            writer.writeheader()
            writer.writerows(self.cells)

    def fail(self, cell: str, status: str = "FAILED", reason: str = "ValueError: no") -> None:
        """A line of failed.csv, as the pool launcher writes it."""
        path = self.folder / "failed.csv"
        old = path.read_text(encoding="utf-8") if path.exists() else "cell,job_id,status,reason\n"
        path.write_text(f'{old}{cell},,{status},"{reason}"\n', encoding="utf-8")


@pytest.fixture
def sweep(tmp_path: Path) -> Sweep:
    return Sweep(tmp_path / "outputs")


@pytest.fixture
def new_sweep(tmp_path: Path) -> Callable[[str], Sweep]:
    return lambda name: Sweep(tmp_path / "outputs", name)


def make_summary(value: float, cell: Mapping[str, Any]) -> dict[str, Any]:
    """A result.json; options of the cell by the user's keys, and code, version, statistics, edited, diagnostics."""
    get = cell.get
    eta, eta_e, seed = get("eta", 0), get("eta_e", 0), get("seed", 0)
    clean = not eta and not eta_e and not get("eta_of")
    corruption = {"eta": eta, "eta_of": get("eta_of", {}), "eta_e": eta_e, "seed": None if clean else seed}
    corruption |= {"kind": get("kind")} if get("kind", "permute") != "permute" and not clean else {}
    options = {
        "_target_": "trustmm.job.Job",
        "corruption": corruption,
        "prior": {"_target_": "trustmm.prior.lightgcn.LightGCNPrior", "num_layers": 2},
        "rectifier": _rectifier(get("rectifier", "none"), cell),
        "edit": _edit(cell),
        "backbone": {"_target_": f"trustmm.backbone.{get('backbone', 'freedom')}.X", "k": 10},
        "training": {
            "_target_": "trustmm.training.loop.Training",
            "learning_rate": get("learning_rate", 0.001),
            "optimizer": {"_target_": get("optimizer", "torch.optim.adam.Adam"), "fused": True},
        },
        "evaluation": {"_target_": "trustmm.evaluation.full_ranking.FullRanking", "filter": "clean"},
    }
    options["evaluation"] |= {"batch_size": get("batch_size")} if "batch_size" in cell else {}
    facts = {"options": options, "dataset": get("dataset", "synthetic"), "code": get("code", "c0de"), "seed": seed}
    facts |= {"split_seed": cell["split_seed"]} if "split_seed" in cell else {}
    means = dict.fromkeys(METRICS, value)
    return {
        "job_id": hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16],
        "options": options,
        "dataset_digest": get("digest", get("dataset", "synthetic")),
        "code_digest": get("code", "c0de" * 8),
        "dataset": get("dataset", "synthetic"),
        "dataset_statistics": get("statistics"),
        "config": {
            "dataset": _dataset(get("dataset", "synthetic")) | {"split_seed": get("split_seed")},
            "corruption": {**corruption, "seed": seed},
            "evaluation": {"filter": "clean"},
            "tracking": {"uri": "none", "experiment": "trustmm"},
            "seed": seed,
        },
        "content_digest": get("content", get("digest", get("dataset", "synthetic"))),
        "environment": {"trustmm": get("version", "0.1.0"), "blas": get("blas", "Haswell"), "host": get("host", "one")},
        "inputs": [{"kind": "prior", "key": "k", "environment": one} for one in get("inputs", ())],
        "seconds": 1.0,
        "ended": (datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=get("ended", 0))).isoformat(),
        "valid": dict(means),
        "test": means,
        "test_by_mask": {"clean": means, "edited": {name: get("edited", value) for name in METRICS}},
        "diagnostics": get("diagnostics", {}),
        "evaluated_users": USERS,
        "best_epoch": 0,
        "epochs": 1,
    }


def _rectifier(name: str, cell: Mapping[str, Any]) -> dict[str, Any]:
    knobs = {"lam": cell.get("lam", 0.5), "tau": cell.get("tau", 0.1)}
    base = {} if name == "none" else {"_target_": "trustmm.rectifier.mr.ModalityRectifier", **knobs}
    return base | RECTIFIERS[name] | ({"rho": cell["rho"]} if "rho" in cell else {})


def _edit(cell: Mapping[str, Any]) -> dict[str, Any]:
    if cell.get("edit", "none") == "none":
        return {"_target_": "trustmm.edit.none.NoEdit"}
    own = {"k_user": 10} if cell["op"] == "complete" else {}
    return {
        "_target_": "trustmm.edit.prior_edit.PriorEdit",
        "where": cell["edit"],
        "op": cell["op"],
        "ratio": 0.05,
        **own,
    }


def _dataset(label: str) -> dict[str, Any]:
    if label == "synthetic":
        return {"_target_": "trustmm.dataset.synthetic.SyntheticDataset", "num_users": USERS, "seed": 0}
    other: dict[str, tuple[str, dict[str, str]]] = {
        "sports_attr": ("sports", {"textual": "text_feat.npy", "attribute": "attr_feat.npy"}),
        "baby_id": ("baby", {}),
    }
    name, modalities = other.get(label, (label, AMAZON))
    return {"_target_": "trustmm.dataset.folder.FolderDataset", "name": name, "modalities": modalities}


def curves(
    sweep: Sweep,
    values: Callable[[str, float, str, int], float],
    *,
    etas: Sequence[float] = (0, 0.1, 0.2, 0.3, 0.4, 0.5),
    seeds: Sequence[int] = range(5),
    backbones: Sequence[str] = ("freedom", "vbpr"),
    **fixed: Any,
) -> None:
    """Fig. 2's cells; `values` gives the recall of backbone, eta, rectifier, seed."""
    for backbone in backbones:
        for eta in etas:
            for rectifier in ("none", "mr"):
                for seed in seeds:
                    cell = {"backbone": backbone, "eta": eta, "rectifier": rectifier, "seed": seed, **fixed}
                    sweep.add(values(backbone, eta, rectifier, seed), **cell)
