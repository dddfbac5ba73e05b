"""A job as its run in the tracking store sees it: tags and parameters first, then epochs, then what it found."""

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from trustmm import __version__
from trustmm.run.cell import UNSCIENTIFIC, Cell, plain_config

if TYPE_CHECKING:
    from trustmm.dataset.data import Dataset
    from trustmm.store.job_folder import Stored
    from trustmm.tracking.mlflow import Run
    from trustmm.training.course import Epoch

log = logging.getLogger(__name__)


CURVES = ("recall@10", "ndcg@10")
"""Validation metrics of every epoch."""
HEADLINE = ("recall@10", "ndcg@10", "recall@20", "ndcg@20")
"""Metrics of a finished job."""
DIAGNOSED = (
    "/eta_hat",
    "/touched_auc",
    "/touched/rectified_to_clean",
    "/untouched/rectified_to_clean",
    "/untouched/rectified_knn_overlap",
    "edit/alignment",
    "edit/alignment_test",
    "edit/auc_heldout",
    "edit/ratio",
)
"""Ends of the diagnostics that sum up a repair and an edit."""
MakePage = Callable[["Stored"], str]
"""Draws the figures of a finished job into its folder, and returns its page as Markdown."""


def publish(stored: "Stored", tracked: "Run", page: MakePage, *, anew: bool = False) -> None:
    """Final numbers, files and figures of a finished job, as its run in the tracking store.

    Args:
        stored: the job, which counts as finished whatever goes wrong here.
        tracked: its run.
        page: draws it.
        anew: whether the run knows nothing of the epochs, which an earlier process had.
    """
    if not tracked.kept:
        return
    from trustmm.store.job_folder import read_history
    from trustmm.training.course import Epoch

    note = ""
    try:
        note = page(stored)
    except (OSError, LookupError, ValueError, TypeError) as error:
        log.warning("the job is finished, but its figures could not be drawn: %s", error)
    for line in read_history(stored.folder) if anew else ():
        stage, number = line.pop("stage"), line["epoch"]
        tracked.log_metrics(epoch_metrics(stage, Epoch(**line)), step=number)
    tracked.log_metrics(headline(stored.summary))
    tracked.log_files(stored.folder)
    tracked.set_tags({"mlflow.note.content": note})


def epoch_metrics(stage: str, epoch: "Epoch") -> dict[str, float]:
    """One epoch as flat metrics, the rest is in the job's history.

    MLflow's page of a run lists groups of charts by the alphabet, so it opens on "curve".
    """
    group = "curve" if stage == "backbone" else f"curve_{stage}"
    valid = {f"{group}/valid {name}": epoch.valid[name] for name in CURVES if name in epoch.valid}
    return valid | {f"{group}/loss {name}": value for name, value in epoch.losses.items()}


def headline(summary: Mapping[str, Any]) -> dict[str, float]:
    """The few numbers of a finished job that its run shows; ``metrics.csv`` has all."""
    metrics = {f"test/{name}": summary["test"][name] for name in HEADLINE if name in summary["test"]}
    metrics |= {f"valid/{name}": summary["valid"][name] for name in HEADLINE if name in summary["valid"]}
    shown = {name: value for name, value in summary["diagnostics"].items() if name.endswith(DIAGNOSED)}
    metrics |= {name: value for name, value in shown.items() if value is not None}
    return metrics | {"job/best epoch": summary["best_epoch"], "job/seconds": summary["seconds"]}


@contextmanager
def tracked_run(
    cell: Cell, facts: Mapping[str, Any], data: "Dataset | None", parent_run_id: str | None, **more: str
) -> Iterator["Run"]:
    """The job's run in the tracking store, with a status that is true; `data` is None where they could not be read."""
    job = cell.job
    digests = {name: facts[name] for name in ("job_id", "dataset_digest", "code_digest")}
    tags = dict(cell.choices) | dict(job.corruption.tags()) | digests | more
    tags |= {
        "seed": job.seed,
        "oracle_rho": str(job.rectifier.oracle_rho).lower(),
        "oracle": str(job.rectifier.oracle).lower(),
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
    """The resolved configuration as ``group.key`` -> value, without what says where; ``group`` -> its class."""
    flat: dict[str, Any] = {}

    def walk(prefix: str, node: Any) -> None:
        if isinstance(node, dict) and node:
            for key, value in node.items():
                walk(f"{prefix}.{key}" if prefix else str(key), value)
        elif prefix.endswith("._target_"):
            flat[prefix.removesuffix("._target_")] = str(node).rpartition(".")[2]
        elif not prefix.endswith("._partial_") and prefix not in ("dataset.root", "training.device"):
            flat[prefix] = node

    walk("", {key: value for key, value in plain_config(config).items() if key not in UNSCIENTIFIC})
    return flat
