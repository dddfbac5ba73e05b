"""The command line: configuration in, one finished job out. Hydra, files and tracking meet here and nowhere else."""

import logging
import os
import platform
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from trustmm import __version__
from trustmm.build import build, options_of
from trustmm.cache import Cache, digest
from trustmm.checks import Seed, check_value
from trustmm.config import STAGES, config_folder, register
from trustmm.explain import explain
from trustmm.identity import code_digest, describe, targets
from trustmm.signals import Terminated

if TYPE_CHECKING:
    from trustmm.dataset.data import Dataset
    from trustmm.job import Job
    from trustmm.results import Stored
    from trustmm.tracking import NoTracking, Run, Status
    from trustmm.training.loop import Epoch

    Sweeps = dict[str | None, tuple[NoTracking, Path]]
    """By parent run: its tracking and the folder of the sweep."""

log = logging.getLogger(__name__)
UNSCIENTIFIC = frozenset({"tracking", "output_dir", "cache_dir", "resume"})
"""Top-level keys that say where and how a job is kept."""


def main() -> None:
    """Run `python -m trustmm`; exit status 1 on the user's mistakes, with one message and no traceback."""
    register()
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # errors reach the lines below instead of being printed by Hydra
    sweeps: Sweeps = {}

    @hydra.main(version_base="1.3", config_path=str(config_folder()), config_name="config")
    def command(config: DictConfig) -> None:
        run(config, sweeps)

    try:
        with _closed(sweeps):
            command()
    except (HydraException, OmegaConfBaseException) as error:
        _exit(explain(error, sys.argv[1:]))
    except (ValueError, ArithmeticError) as error:
        _exit(str(error))
    except KeyboardInterrupt:
        _exit("interrupted", status=130)
    except Terminated:
        _exit("terminated", status=143)


def run(config: DictConfig, sweeps: "Sweeps") -> None:
    """One job of a run or a sweep, from its composed configuration.

    Args:
        config: composed by Hydra.
        sweeps: parent runs, to be closed when the command ends; a job of a sweep adds its own.
    """
    with _rewritten_errors():
        job, read_data, tracking = build_stages(config)
        data = read_data()
        tracking.initialise()
        if HydraConfig.get().mode is RunMode.MULTIRUN:
            sweeps[_parent(tracking)] = (tracking, Path(HydraConfig.get().sweep.dir))
        stored = run_or_reuse(config, job, data, tracking)
    sys.stdout.write(stored.line + "\n")
    sys.stdout.flush()


def build_stages(config: DictConfig) -> tuple["Job", Any, "NoTracking"]:
    """All stages, built and range-checked before any data are read: the job, the reader of its data, the tracking."""
    check_value("seed", config.seed, Seed)
    stages = {group: build(config, group) for group in STAGES}
    from trustmm.job import Job

    read_data, tracking = stages.pop("dataset"), stages.pop("tracking")
    return Job(**stages, seed=config.seed), read_data, tracking


def run_or_reuse(config: DictConfig, job: "Job", data: "Dataset", tracking: "NoTracking") -> "Stored":
    """The stored result of this identity, if it is finished and wanted, or a new run; either way known to tracking."""
    from trustmm.results import read_result

    facts = job_facts(config, job, data)
    folder = Path(config.output_dir) / facts["job_id"]
    stored = read_result(folder, facts["job_id"]) if config.resume else None
    if stored is None:
        tracking.close_orphans(facts["job_id"])
        with _tracked(config, job, data, tracking, facts) as tracked:
            stored = execute(config, job, data, facts, folder, tracked)
            _record_cell(facts["job_id"], tracked.run_id)
            return stored
    log.info("reused the finished job %s", folder)
    run_id = tracking.find(facts["job_id"])
    if run_id is None:
        with _tracked(config, job, data, tracking, facts, reused="true") as tracked:
            publish(stored, tracked)
            run_id = tracked.run_id
    _record_cell(facts["job_id"], run_id)
    return stored


def job_facts(config: DictConfig, job: "Job", data: "Dataset") -> dict[str, Any]:
    """What determines the numbers of a job, and the identity made of it."""
    from trustmm.dataset.sizes import sizes

    science = describe(job)
    facts = {
        "options": science,
        "dataset_digest": data.digest,
        "code_digest": code_digest("trustmm.job", *targets(science)),
    }
    named = {"dataset": data.name, "dataset_statistics": sizes(data), "config": plain_config(config)}
    return {"job_id": digest(facts)[:16], **facts, **named, "versions": versions()}


def plain_config(config: DictConfig) -> dict[str, Any]:
    """The whole configuration as plain checked values."""
    plain = OmegaConf.to_container(config, resolve=True)
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()} | {group: options_of(config, group) for group in STAGES}


def execute(
    config: DictConfig, job: "Job", data: "Dataset", facts: Mapping[str, Any], folder: Path, tracked: "Run"
) -> "Stored":
    """Run the job, write its folder and log it."""
    from trustmm.allocator import keep_freed_memory
    from trustmm.job import run_job
    from trustmm.progress import progress
    from trustmm.results import record_history, write_result
    from trustmm.signals import termination_as_exception

    keep_freed_memory()
    started = time.time()
    with termination_as_exception(), progress() as show:
        record = record_history(folder)

        def on_epoch(stage: str, epoch: "Epoch", epochs: int, patience_left: int) -> None:
            record(stage, epoch)
            show(stage, epoch, epochs, patience_left)
            tracked.log_metrics(epoch_metrics(stage, epoch), step=epoch.epoch)

        result = run_job(data, job, cache=Cache(Path(config.cache_dir)), on_epoch=on_epoch)
    stored = write_result(folder, result, dict(facts) | {"seconds": time.time() - started})
    (folder / "config.yaml").write_text(OmegaConf.to_yaml(config, resolve=True), encoding="utf-8")
    publish(stored, tracked)
    return stored


def publish(stored: "Stored", tracked: "Run") -> None:
    """Final numbers, files and figures of a finished job, as its run in the tracking store."""
    if tracked.run_id is None:
        return
    from trustmm.report.job_page import describe_job, draw_job

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
def _tracked(
    config: DictConfig, job: "Job", data: "Dataset", tracking: "NoTracking", facts: Mapping[str, Any], **more: str
) -> Iterator["Run"]:
    from trustmm.tracking import DatasetInfo

    choices = HydraConfig.get().runtime.choices
    labels = {group: choices[group] for group in ("dataset", "backbone", "corruption", "rectifier", "edit")}
    corruption = {"eta": job.corruption.eta, "eta_e": job.corruption.eta_e, "corruption_seed": job.corruption.seed}
    digests = {name: facts[name] for name in ("job_id", "dataset_digest", "code_digest")}
    tags = labels | corruption | digests | more | {"corruption_kind": job.corruption.kind}
    tags |= {"seed": job.seed, "oracle_rho": str(job.rectifier.oracle_rho).lower(), "version": __version__}
    kind = "" if job.corruption.kind == "permute" else f"-{job.corruption.kind}"
    name = f"{labels['backbone']}-{data.name}-eta{job.corruption.eta:g}{kind}-{labels['rectifier']}-s{job.seed}"
    pairs = f"{len(data.train)} / {len(data.valid)} / {len(data.test)} train / valid / test pairs"
    profile = f"{data.num_users} users, {data.num_items} items, {pairs}, {', '.join(data.features) or 'no features'}"
    info = DatasetInfo(name=data.name, digest=data.digest, profile=profile, source=str(choices["dataset"]))
    parent = _parent(tracking)
    with tracking.run(name, params=flat_params(config), tags=tags, parent_run_id=parent, dataset=info) as tracked:
        yield tracked


def _record_cell(job_id: str, run_id: str | None) -> None:
    from trustmm.results import record_cell

    hydra_config = HydraConfig.get()
    if hydra_config.mode is RunMode.MULTIRUN:
        record_cell(Path(hydra_config.sweep.dir), " ".join(hydra_config.overrides.task), job_id, run_id)


def _parent(tracking: "NoTracking") -> str | None:
    """The parent run of the sweep that this job belongs to."""
    hydra_config = HydraConfig.get()
    if hydra_config.mode is not RunMode.MULTIRUN:
        return None
    sweep_id = Path(hydra_config.sweep.dir).name
    return tracking.parent(sweep_id, name=f"sweep-{sweep_id}", tags={}, params={})


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


def versions() -> dict[str, str]:
    """Versions that can move a number."""
    import numpy as np
    import torch

    device = torch.cuda.get_device_name() if torch.cuda.is_available() else platform.processor() or platform.machine()
    return {
        "trustmm": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "device": device,
    }


@contextmanager
def _closed(sweeps: "Sweeps") -> Iterator[None]:
    """Give the parent runs of the sweeps that started in the block a status that is true, and their list of cells."""
    status: Status = "KILLED"
    try:
        yield
        status = "FINISHED"
    except Exception:
        status = "FAILED"
        raise
    finally:
        for run_id, (tracking, folder) in sweeps.items():
            tracking.finish_parent(run_id, status, folder)


@contextmanager
def _rewritten_errors() -> Iterator[None]:
    """A tracking store that cannot be used is the user's to mend: one message, no traceback."""
    from trustmm.tracking import TrackingError

    try:
        yield
    except TrackingError as error:
        raise ValueError(str(error)) from error


def _exit(message: str, status: int = 1) -> None:
    sys.stderr.write(f"trustmm: {message}\n")
    raise SystemExit(status)
