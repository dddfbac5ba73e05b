"""A job is run once: its stored result is reused, or made by whoever comes first and published."""

import json
import logging
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from omegaconf import OmegaConf

from trustmm.run.cell import Cell, identity_facts, open_cache, public_config
from trustmm.run.environment import environment
from trustmm.run.publish import MakePage, epoch_metrics, publish, tracked_run
from trustmm.store.cache import Handed, recorded
from trustmm.store.files import atomic, locked
from trustmm.store.identity import parts_of
from trustmm.store.job_folder import WEIGHTS

if TYPE_CHECKING:
    from trustmm.dataset.data import Dataset
    from trustmm.evaluation.full_ranking import Scores
    from trustmm.job import JobResult
    from trustmm.store.job_folder import Stored
    from trustmm.tracking.mlflow import Run
    from trustmm.training.course import Epoch

log = logging.getLogger(__name__)


class Finished(NamedTuple):
    """A finished job and its run in the tracking store."""

    stored: "Stored"
    run_id: str | None


def run_or_reuse(
    cell: Cell,
    data: "Dataset",
    page: MakePage,
    parent_run_id: str | None = None,
    on_run: Callable[[str | None], None] = lambda run_id: None,
) -> Finished:
    """The stored result of this identity, if it is finished and wanted, or a new run; either way known to tracking.

    One process at a time works on an identity; a second waits, and says for whom.

    Args:
        cell: the job.
        data: what `cell.read_data` returned.
        page: draws and describes a finished job.
        parent_run_id: run of the sweep that it belongs to.
        on_run: told the id of its run as soon as there is one, also when the job fails later.
    """
    from trustmm.store.job_folder import read_result

    facts = job_facts(cell, data)
    folder = cell.folder(facts["job_id"])
    with identity_lock(folder):
        cell.tracking.close_orphans(facts["job_id"])
        stored = read_result(folder, facts) if cell.config.resume else None
        if cell.config.keep_model is True and not (folder / WEIGHTS).is_file():
            stored = None
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
            publish(stored, tracked, page, anew=bool(reused))
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
    from trustmm.dataset.statistics import recorded_sizes

    return identity_facts(cell, data.identity) | {
        "choices": dict(cell.choices),
        "dataset": data.name,
        "dataset_statistics": recorded_sizes(data),
        "config": public_config(cell.config),
        "content_digest": getattr(data, "content_digest", data.digest),
        "environment": environment(cell.job.training.torch_device),
    }


def execute(cell: Cell, data: "Dataset", facts: Mapping[str, Any], folder: Path, tracked: "Run") -> "Stored":
    """Run the job and write its folder."""
    from trustmm.job import run_job
    from trustmm.process.allocator import keep_freed_memory
    from trustmm.run.model import save_weights
    from trustmm.run.progress import progress
    from trustmm.store.job_folder import record_history, write_result
    from trustmm.training.checkpoint import FileCheckpoint

    keep_freed_memory()
    started = time.time()
    with progress() as show:
        record = record_history(folder)

        def on_epoch(stage: str, epoch: "Epoch", epochs: int, patience_left: int) -> None:
            record(stage, asdict(epoch))
            show(stage, epoch, epochs, patience_left)
            tracked.log_metrics(epoch_metrics(stage, epoch), step=epoch.epoch)

        cache = open_cache(cell.config, facts["environment"])
        checkpoint = FileCheckpoint(folder / "checkpoint.pt", parts_of(facts), facts["environment"])
        if not cell.config.resume:
            checkpoint.clear()
        keep = None if cell.config.keep_model is False else partial(save_weights, folder)
        result = run_job(data, cell.job, cache=cache, on_epoch=on_epoch, checkpoint=checkpoint, on_weights=keep)
    text = OmegaConf.to_yaml(OmegaConf.create(public_config(cell.config)))
    with atomic(folder / "config.yaml") as path:
        path.write_text(text, encoding="utf-8")
    if data.provenance is not None:
        with atomic(folder / "dataset.json") as path:
            path.write_text(json.dumps(data.provenance, indent=1), encoding="utf-8")
    inputs = [*cache.handed, *(Handed("checkpoint", facts["job_id"], one) for one in checkpoint.before)]
    times = {"seconds": time.time() - started, "ended": datetime.now(UTC).isoformat()}
    summary = dict(facts) | summary_of(result) | {"inputs": recorded(inputs)} | times
    stored = write_result(folder, summary, per_user_arrays(result.test))
    checkpoint.clear()
    return stored


def summary_of(result: "JobResult") -> dict[str, Any]:
    """What a job found, as plain values; a number that is not finite is None."""
    return {
        "valid": result.valid.means,
        "test": result.test.means,
        "test_by_mask": {mask: result.test.means_of(mask) for mask in result.test.per_user},
        "diagnostics": {name: value if np.isfinite(value) else None for name, value in result.diagnostics.items()},
        "best_epoch": max(epoch.epoch for epoch in result.history if epoch.best),
        "epochs": len(result.history),
        "evaluated_users": len(result.test.users),
    }


def per_user_arrays(scores: "Scores") -> dict[str, np.ndarray[Any, Any]]:
    """The evaluated users and their test values as float32, by ``mask/metric``."""
    values = {f"{mask}/{name}": value for mask, part in scores.per_user.items() for name, value in part.items()}
    return {"users": scores.users} | {name: value.astype(np.float32) for name, value in values.items()}
