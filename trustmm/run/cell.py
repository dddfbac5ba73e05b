"""One cell of a results table: from its composed configuration to a result that is stored and known to tracking."""

import json
import logging
import os
import platform
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from omegaconf import DictConfig, OmegaConf

from trustmm import __version__
from trustmm.options.build import build, options_of
from trustmm.options.checks import Seed, check_value
from trustmm.options.config import STAGES
from trustmm.store.cache import Cache, digest, locked
from trustmm.store.identity import code_digest, describe, targets

if TYPE_CHECKING:
    import torch

    from trustmm.dataset.data import Dataset
    from trustmm.job import Job
    from trustmm.store.job_folder import Stored
    from trustmm.tracking.mlflow import NoTracking, Run
    from trustmm.training.course import Epoch

log = logging.getLogger(__name__)
UNSCIENTIFIC = frozenset({"tracking", "output_dir", "cache_dir", "resume"})
"""Top-level keys that say where and how a job is kept."""
LABELS = ("dataset", "backbone", "corruption", "rectifier", "edit")
"""Groups whose chosen option names a run."""


@dataclass(frozen=True)
class Cell:
    """A job, built and range-checked, with where it is kept; nothing is read yet."""

    config: DictConfig
    """As composed, without Hydra's own node."""
    choices: Mapping[str, str]
    """The option chosen in each group."""
    job: "Job"
    read_data: Callable[[], "Dataset"]
    tracking: "NoTracking"

    def name(self, dataset: str) -> str:
        """Of the run in the tracking store."""
        damage, edit = self.job.corruption, self.choices["edit"]
        parts = [self.choices["backbone"], dataset, f"eta{damage.eta:g}"]
        parts += [f"{modality}{eta:g}" for modality, eta in sorted(damage.eta_of.items()) if eta]
        parts += [damage.kind] if damage.kind != "permute" else []
        parts += [f"etae{damage.eta_e:g}"] if damage.eta_e else []
        parts += [self.choices["rectifier"]]
        parts += [f"{self.config.edit.op}_{edit}"] if edit != "none" else []
        return "-".join([*parts, f"s{self.job.seed}"])

    def folder(self, job_id: str) -> Path:
        """Where the result of this identity lies."""
        return Path(self.config.output_dir) / job_id


class Finished(NamedTuple):
    """A finished job and its run in the tracking store."""

    stored: "Stored"
    run_id: str | None


def build_cell(config: DictConfig, choices: Mapping[str, str]) -> Cell:
    """Build and range-check all stages; ValueError names the key, what was found and what was expected."""
    job, read_data, tracking = build_stages(config)
    return Cell(config, {group: str(choices[group]) for group in LABELS}, job, read_data, tracking)


def build_stages(config: DictConfig) -> tuple["Job", Any, "NoTracking"]:
    """All stages, built and range-checked before any data are read: the job, the reader of its data, the tracking."""
    check_value("seed", config.seed, Seed)
    stages = {group: build(config, group) for group in STAGES}
    from trustmm.job import Job

    read_data, tracking = stages.pop("dataset"), stages.pop("tracking")
    return Job(**stages, seed=config.seed), read_data, tracking


def run_or_reuse(
    cell: Cell,
    data: "Dataset",
    parent_run_id: str | None = None,
    on_run: Callable[[str | None], None] = lambda run_id: None,
) -> Finished:
    """The stored result of this identity, if it is finished and wanted, or a new run; either way known to tracking.

    One process at a time works on an identity; a second waits, and says for whom.

    Args:
        cell: the job.
        data: what `cell.read_data` returned.
        parent_run_id: run of the sweep that it belongs to.
        on_run: told the id of its run as soon as there is one, also when the job fails later.
    """
    from trustmm.store.job_folder import read_result

    facts = job_facts(cell, data)
    folder = cell.folder(facts["job_id"])
    with identity_lock(folder):
        cell.tracking.close_orphans(facts["job_id"])
        stored = read_result(folder, facts["job_id"]) if cell.config.resume else None
        if stored is not None:
            log.info("reused the finished job %s", folder)
            run_id = cell.tracking.find(facts["job_id"])
            if run_id is not None:
                return Finished(stored, run_id)
        reused = {} if stored is None else {"reused": "true"}
        with tracked_run(cell, facts, data, parent_run_id, **reused) as tracked:
            on_run(tracked.run_id)
            if stored is None:
                stored = execute(cell, data, facts, folder, tracked)
            publish(stored, tracked)
        return Finished(stored, tracked.run_id)


@contextmanager
def identity_lock(folder: Path) -> Iterator[None]:
    """Hold the lock of a job's identity, ``locks/JOB_ID.lock`` beside its folder, waiting for whoever has it."""
    path = folder.parent / "locks" / f"{folder.name}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    holder = f"pid {os.getpid()} on {socket.gethostname()}"
    with locked(path, holder=holder, on_wait=lambda other: log.info("job %s: waiting for %s", folder.name, other)):
        yield


def job_facts(cell: Cell, data: "Dataset") -> dict[str, Any]:
    """What determines the numbers of a job, and the identity made of it."""
    from trustmm.dataset.sizes import sizes

    return identity_facts(cell, data.digest) | {
        "dataset": data.name,
        "dataset_statistics": sizes(data),
        "config": public_config(cell.config),
        "versions": versions(cell.job.training.torch_device),
    }


def identity_facts(cell: Cell, dataset_digest: str) -> dict[str, Any]:
    """The identity, ``job_id``, and the three parts that it is made of."""
    science = describe(cell.job)
    facts = {
        "options": science,
        "dataset_digest": dataset_digest,
        "code_digest": code_digest("trustmm.job", *targets(science)),
    }
    return {"job_id": digest(facts)[:16], **facts}


def plain_config(config: DictConfig) -> dict[str, Any]:
    """The whole configuration as plain checked values."""
    plain = OmegaConf.to_container(config, resolve=True)
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()} | {group: options_of(config, group) for group in STAGES}


def public_config(config: DictConfig) -> dict[str, Any]:
    """The configuration as it may be read by others: addresses without passwords."""
    from trustmm.tracking.mlflow_run import public

    plain = plain_config(config)
    tracking = {key: public(value) if isinstance(value, str) else value for key, value in plain["tracking"].items()}
    return plain | {"tracking": tracking}


def execute(cell: Cell, data: "Dataset", facts: Mapping[str, Any], folder: Path, tracked: "Run") -> "Stored":
    """Run the job and write its folder."""
    from trustmm.job import run_job
    from trustmm.process.allocator import keep_freed_memory
    from trustmm.run.progress import progress
    from trustmm.store.job_folder import record_history, write_result
    from trustmm.training.checkpoint import FileCheckpoint

    keep_freed_memory()
    started = time.time()
    with progress() as show:
        record = record_history(folder)

        def on_epoch(stage: str, epoch: "Epoch", epochs: int, patience_left: int) -> None:
            record(stage, epoch)
            show(stage, epoch, epochs, patience_left)
            tracked.log_metrics(epoch_metrics(stage, epoch), step=epoch.epoch)

        checkpoint = FileCheckpoint(folder / "checkpoint.pt", facts["job_id"])
        if not cell.config.resume:
            checkpoint.clear()
        cache = Cache(Path(cell.config.cache_dir))
        result = run_job(data, cell.job, cache=cache, on_epoch=on_epoch, checkpoint=checkpoint)
    text = OmegaConf.to_yaml(OmegaConf.create(public_config(cell.config)))
    (folder / "config.yaml").write_text(text, encoding="utf-8")
    if data.provenance is not None:
        (folder / "dataset.json").write_text(json.dumps(data.provenance, indent=1), encoding="utf-8")
    stored = write_result(folder, result, dict(facts) | {"seconds": time.time() - started})
    checkpoint.clear()
    return stored


def publish(stored: "Stored", tracked: "Run") -> None:
    """Final numbers, files and figures of a finished job, as its run in the tracking store."""
    if tracked.run_id is None:
        return
    from trustmm.report.page.job import describe_job, draw_job

    draw_job(stored)
    summary = stored.summary
    metrics = {f"test/{name}": value for name, value in summary["test"].items()}
    metrics |= {f"best_valid/{name}": value for name, value in summary["valid"].items()}
    for mask, values in summary["test_by_mask"].items():
        metrics |= {f"test_{mask}/{name}": values[name] for name in ("recall@10", "ndcg@10")}
    metrics |= {name: value for name, value in summary["diagnostics"].items() if value is not None}
    tracked.log_metrics(metrics | {"best_epoch": summary["best_epoch"], "seconds": summary["seconds"]})
    tracked.log_files(stored.folder)
    tracked.set_tags({"mlflow.note.content": describe_job(stored)})


def epoch_metrics(stage: str, epoch: "Epoch") -> dict[str, float]:
    """One epoch as flat metrics; the prior's carry its name."""
    prefix = "" if stage == "backbone" else f"{stage}/"
    losses = {f"{prefix}loss/{name}": value for name, value in epoch.losses.items()}
    valid = {f"{prefix}valid/{name}": value for name, value in epoch.valid.items() if name.endswith("@10")}
    seconds = {"train": epoch.train_seconds, "evaluation": epoch.evaluation_seconds}
    return losses | valid | {f"{prefix}seconds/{name}": value for name, value in seconds.items()}


@contextmanager
def tracked_run(
    cell: Cell, facts: Mapping[str, Any], data: "Dataset | None", parent_run_id: str | None, **more: str
) -> Iterator["Run"]:
    """The job's run in the tracking store, with a status that is true; `data` is None where they could not be read."""
    from trustmm.rectifier.oracle import OracleRectifier

    job = cell.job
    corruption = {"eta": job.corruption.eta, "eta_e": job.corruption.eta_e, "corruption_seed": job.corruption.seed}
    digests = {name: facts[name] for name in ("job_id", "dataset_digest", "code_digest")}
    tags = dict(cell.choices) | corruption | digests | more
    tags |= {
        "corruption_kind": job.corruption.kind,
        "seed": job.seed,
        "oracle_rho": str(job.rectifier.oracle_rho).lower(),
        "oracle": str(isinstance(job.rectifier, OracleRectifier)).lower(),
        "version": __version__,
    }
    info = None if data is None else _dataset_info(data, cell.choices["dataset"])
    name, params = cell.name(cell.choices["dataset"] if data is None else data.name), flat_params(cell.config)
    with cell.tracking.run(name, params=params, tags=tags, parent_run_id=parent_run_id, dataset=info) as tracked:
        yield tracked


def _dataset_info(data: "Dataset", source: str) -> Any:
    from trustmm.tracking.mlflow import DatasetInfo

    pairs = f"{len(data.train)} / {len(data.valid)} / {len(data.test)} train / valid / test pairs"
    profile = f"{data.num_users} users, {data.num_items} items, {pairs}, {', '.join(data.features) or 'no features'}"
    return DatasetInfo(name=data.name, digest=data.digest, profile=profile, source=source)


def flat_params(config: DictConfig) -> dict[str, Any]:
    """The resolved configuration as ``group.key`` -> value, without what says where."""
    flat: dict[str, Any] = {}

    def walk(prefix: str, node: Any) -> None:
        if isinstance(node, dict) and node:
            for key, value in node.items():
                walk(f"{prefix}.{key}" if prefix else str(key), value)
        elif prefix not in ("dataset.root", "training.device"):
            flat[prefix] = node

    walk("", {key: value for key, value in plain_config(config).items() if key not in UNSCIENTIFIC})
    return flat


def versions(device: "torch.device") -> dict[str, str]:
    """What can move the last digit of a number: versions, the device, and how many threads divided its sums."""
    import numpy as np
    import torch

    cpu = platform.processor() or platform.machine()
    return {
        "trustmm": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "threads": str(torch.get_num_threads()),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else cpu,
    }
