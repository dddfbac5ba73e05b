"""What is drawn without data from outside, printed as digests, and a sweep: `test_exact` compares machines by it."""

import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np

from trustmm.corruption.base import Damage
from trustmm.corruption.clicks import ClickKind
from trustmm.corruption.frames import FrameKind
from trustmm.corruption.kinds import Kind, replacement
from trustmm.corruption.stress import StressTest
from trustmm.dataset.data import Dataset, TrainData
from trustmm.dataset.synthetic import SyntheticDataset
from trustmm.exact import bell
from trustmm.seeding import stream
from trustmm.store.digest import digest

COMMON = {
    "categories": False,
    "frames": {},
    "taste_dim": 16,
    "num_groups": 50,
    "spread": 0.1,
    "sharpness": 4.0,
    "popularity": 0.6,
    "held_out": 0.1,
}
DATA = {
    "default": {"content": 0.5, "seed": 0},
    "noise": {"content": 0.0, "seed": 0},
    "taste": {"content": 1.0, "seed": 1},
    "seed 16": {"content": 0.5, "seed": 16},
    "narrow": {"taste_dim": 1, "content": 0.5, "seed": 0, "num_users": 333, "num_interactions": 3001},
    "wide": {"taste_dim": 301, "content": 0.7, "seed": 3, "num_users": 333, "num_items": 601, "num_interactions": 3001},
    "frames": {"content": 0.5, "seed": 0, "frames": {"visual": 5}},
    "no taste": {"sharpness": 0.0, "popularity": 0.0, "content": 0.5, "seed": 4},
}
SIZE = {"num_users": 2000, "num_items": 1000, "num_interactions": 14000, "modalities": {"visual": 64, "textual": 32}}


def clusters() -> dict[str, str]:
    """Rows chosen for similar swaps, also where many cosines are nearly or exactly equal."""
    rng = stream(0, "clusters")
    rows = {
        "bell": bell(rng, (3000, 96)),
        "signs": rng.integers(-1, 2, (3000, 33)),
        "tenths": 0.1 * rng.integers(1, 4, (3000, 301)),
    }
    chosen, kind = np.arange(0, 3000, 2), replacement("swap_similar")
    return {name: digest(kind(row.astype(np.float32), chosen, stream(1, name))) for name, row in rows.items()}


def damage() -> dict[str, str]:
    """What every kind of damage makes of data: items and their rows, pairs added to many possible ones and to few.

    Not the rows of `normal`, whose last bits are the C library's.
    """
    many, few = (SyntheticDataset(**(COMMON | SIZE | DATA[name]))() for name in ("frames", "narrow"))
    found = {}
    for kind in (*get_args(Kind), *get_args(FrameKind)):
        damaged, report = stress(many, kind=kind, eta=0.3)
        found[f"kind {kind}"] = digest([dict(report.touched), {} if kind == "normal" else dict(damaged.features)])
    for eta_e, kind in (*((0.3, kind) for kind in get_args(ClickKind)), (-0.3, "uniform")):
        noisy = [stress(data, edge_kind=kind, eta_e=eta_e)[0] for data in (many, few)]
        found[f"clicks {kind} {eta_e}"] = digest([train.supervision.keys for train in noisy])
    return found


def stress(data: Dataset, **changes: Any) -> tuple[TrainData, Damage]:
    """The data after the default test with these changes."""
    plain = {"kind": "permute", "eta": 0.0, "eta_of": {}, "joint": False, "frame_share": 0.5}
    noise = {"eta_e": 0.0, "edge_kind": "uniform", "seed": 2}
    return StressTest(**(plain | noise | changes))(data.as_train_data(), observed=data.observed)


def sweep(folder: Path) -> dict[str, str]:
    """Two jobs: prepared with the machine's threads, worked off with one, as a pool's worker does."""
    from hydra import compose, initialize_config_dir

    from trustmm.options.config import config_folder, register
    from trustmm.process.threads import bound
    from trustmm.store.job_folder import read_stored
    from trustmm.sweep.plan import Sweep
    from trustmm.sweep.worker import work

    register()
    tiny = ("dataset.num_users=60", "dataset.num_items=40", "dataset.num_interactions=400", "training.epochs=1")

    def composed(words: Sequence[str]) -> Any:
        with initialize_config_dir(version_base="1.3", config_dir=str(config_folder())):
            return compose("config", overrides=["backbone=bpr", *tiny, *words], return_hydra_config=True)

    planned = Sweep(composed, folder / "sweep", lambda *_, **__: "")
    elsewhere = ("tracking=none", f"output_dir={folder}")
    tasks = planned.prepare([("corruption.eta=0", *elsewhere), ("corruption.eta=0.3", *elsewhere)])
    bound(1)
    ends = [work(planned.assignment(task), lambda stored: "") for task in tasks]
    drawn = [read_stored(task.folder).summary["content_digest"] for task in tasks]
    return {"sweep": " ".join([end.status + end.reason for end in ends] + drawn)}


if __name__ == "__main__":
    found = {name: SyntheticDataset(**(COMMON | SIZE | options))().content_digest for name, options in DATA.items()}
    found |= clusters() | damage()
    with tempfile.TemporaryDirectory() as folder:
        found |= sweep(Path(folder))
    sys.stdout.write(json.dumps(found, indent=1) + "\n")
