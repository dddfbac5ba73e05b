"""The Python API: jobs, sweeps, repairs and trained models, with the options of the command line.

Defaults come from the same YAML files as on the command line, and a job has the same identity however it was started.
"""

import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from trustmm.dataset.data import Dataset
from trustmm.dataset.write import write_dataset
from trustmm.options.compose import compose_job
from trustmm.report.page.job import job_page
from trustmm.report.page.sweep import markdown, pivot
from trustmm.report.runs.read import read_sweeps
from trustmm.report.write import write_report
from trustmm.run.cell import build_cell, build_stages, open_cache
from trustmm.run.environment import environment
from trustmm.run.model import Model, load_model
from trustmm.run.rectified import rectified
from trustmm.run.reuse import run_or_reuse
from trustmm.store.digest import digest
from trustmm.store.job_folder import RESULT, Stored, read_history, read_stored
from trustmm.store.sweep_folder import FinishedCell, read_cells
from trustmm.tracking.typed import conceal_words

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Dataset", "Model", "Rectified", "Result", "Results", "load", "rectify", "run", "sweep"]


@dataclass(frozen=True)
class Result:
    """A finished job."""

    folder: Path
    """Its folder, ``outputs/JOB_ID``."""
    summary: Mapping[str, Any]
    """The contents of its ``result.json``: configuration, identity, versions and numbers."""

    @property
    def metrics(self) -> dict[str, float]:
        """Test metrics of the best weights, such as ``recall@10``."""
        return dict(self.summary["test"])

    @property
    def valid(self) -> dict[str, float]:
        """Validation metrics of the best weights."""
        return dict(self.summary["valid"])

    @property
    def diagnostics(self) -> dict[str, float | None]:
        """What the repair and the edit did; None where a number is not finite."""
        return dict(self.summary["diagnostics"])

    @property
    def history(self) -> list[dict[str, Any]]:
        """One entry per epoch of the prior and of the backbone."""
        return read_history(self.folder)

    def __repr__(self) -> str:
        metrics = " ".join(f"{name}={self.metrics[name]:.4f}" for name in ("recall@10", "ndcg@10"))
        return f"Result({metrics}, folder={str(self.folder)!r})"


@dataclass(frozen=True)
class Results(Sequence[Result]):
    """The finished jobs of a sweep, in the order of its cells."""

    folder: Path
    """Folder of the sweep."""
    cells: Sequence[str]
    """Overrides of each job."""
    results: Sequence[Result]

    def __len__(self) -> int:
        return len(self.results)

    def __getitem__(self, place: Any) -> Any:
        return self.results[place]

    def __iter__(self) -> Iterator[Result]:
        return iter(self.results)

    def table(self) -> str:
        """Test Recall@10 as Markdown: mean and standard deviation over seeds."""
        pairs = zip(self.cells, self.results, strict=True)
        return markdown(pivot([FinishedCell(cell, None, result.summary) for cell, result in pairs]))

    def frame(self) -> "pd.DataFrame":
        """One row per job: options by their keys, metrics as ``test/recall@10``, diagnostics."""
        return read_sweeps([self.folder]).table

    def report(self, folder: str | Path) -> Path:
        """Write tables, figures and claims into a folder, and return its page."""
        return write_report(read_sweeps([self.folder]), Path(folder))[0]


@dataclass(frozen=True)
class Rectified:
    """Repaired features. Each field is a dict by modality, or a single value if a single array was given."""

    features: Any
    """Matrices (I, d), float32."""
    mismatch: Any
    """In [0, 1], (I,): with ``rectifier=trust`` the probability that the features are not the item's own; with ``mr``
    how little they agree with its clicks, NaN for an item without training pairs."""
    eta_hat: Any
    """Estimated share of items with wrong features."""


def run(*overrides: str, root: str | Path | None = None, dataset: Dataset | None = None) -> Result:
    """Run one job, or reuse its finished result.

    Args:
        overrides: as on the command line, such as ``"backbone=mgcn"``.
        root: folder of data sets, the option ``dataset.root``.
        dataset: data in memory instead of an option.

    Raises: ValueError for a mistake in the options or the data; it says what was expected.
    """
    config, choices = compose_job([*_data_options(overrides, root, dataset), *overrides])
    cell = build_cell(config, choices)
    cell.tracking.initialise()
    return _result(run_or_reuse(cell, cell.read_data(), job_page).stored)


def sweep(*overrides: str, root: str | Path | None = None, dataset: Dataset | None = None) -> Results:
    """Run all combinations that have not been run yet, each in a process of its own.

    Args:
        overrides: as on the command line after ``-m``, such as ``"seed=0,1,2"``.
        root: folder of data sets, the option ``dataset.root``.
        dataset: data in memory instead of an option.

    Raises: ValueError for a mistake in the options; RuntimeError if jobs failed (the others are kept).
    """
    words = conceal_words([*_data_options(overrides, root, dataset), *overrides])
    output = next((word.partition("=")[2] for word in reversed(words) if word.startswith("output_dir=")), "outputs")
    folder = Path(output) / "sweeps" / f"api-{digest(sorted(words))[:12]}"
    command = [sys.executable, "-m", "trustmm", "-m", *words, f"hydra.sweep.dir={folder}"]
    with tempfile.TemporaryFile("w+", encoding="utf-8") as errors:
        code = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=errors).returncode
        errors.seek(0)
        said = errors.read()
    if code:
        mistake = re.search(r"^trustmm: (.*)", said, re.MULTILINE | re.DOTALL)
        text = mistake[1].strip() if mistake else said.strip()[-2000:]
        raise (RuntimeError if (folder / "failed.csv").is_file() else ValueError)(text)
    rows = read_cells(folder)
    found = [_result(read_stored(Path(output) / row["job_id"])) for row in rows]
    return Results(folder, [row["cell"] for row in rows], found)


def rectify(
    features: ArrayLike | Mapping[str, ArrayLike],
    users: ArrayLike,
    items: ArrayLike,
    *overrides: str,
    split: ArrayLike | None = None,
) -> Rectified:
    """Repair item features with the help of clicks, by the rectifier of a job but without a recommender.

    Args:
        features: one matrix (I, d), or matrices by modality.
        users: of the pairs, numbered from 0, (E,).
        items: of the pairs, numbered from 0, (E,).
        overrides: as on the command line, such as ``"rectifier.lam=0.3"``.
        split: 0 train, 1 validation (early stopping of the prior), 2 unused, (E,); None draws 8:1:1 within each user.

    Raises: ValueError for a mistake in the options or the arrays.
    """
    named: Mapping[str, Any] = features if isinstance(features, Mapping) else {"features": features}
    data = Dataset.from_arrays(users, items, features=named, split=split)
    config, _ = compose_job(["tracking=none", *overrides], "rectify")
    job, _, _ = build_stages(config)
    job.rectifier.check_fit(data.num_items)
    train, repairs, _ = rectified(data, job, open_cache(config, environment(job.training.torch_device)))
    cold = data.train.item_degree == 0
    parts = (
        {name: train.features[name] for name in named},
        {name: _mismatch(repairs.get(name), cold) for name in named},
        {name: _eta_hat(repairs.get(name)) for name in named},
    )
    return Rectified(*(part if named is features else part["features"] for part in parts))


def load(result: Result | str | Path) -> Model:
    """The trained model of a finished job.

    Args:
        result: the result of `run`, the folder of a job, or its ``result.json``.

    Raises: ValueError if the weights were not kept, or the program or the data changed since.
    """
    folder = result.folder if isinstance(result, Result) else Path(result)
    return load_model(folder.parent if folder.name == RESULT else folder)


def _eta_hat(repair: Any) -> float:
    trust = getattr(repair, "trust", None)
    return float(getattr(repair, "eta_hat", np.nan) if trust is None else trust.eta.value)


def _mismatch(repair: Any, cold: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The probability of a mismatch if the repair estimates one; otherwise how little features agree with anchors."""
    trust = getattr(repair, "trust", None)
    if trust is not None:
        return np.asarray(trust.probability)
    alignment = getattr(repair, "alignment", None)
    if alignment is None:
        return np.full(len(cold), np.nan)
    return np.where(cold, np.nan, np.clip((1 - alignment) / 2, 0, 1))


def _data_options(overrides: Sequence[str], root: str | Path | None, dataset: Dataset | None) -> list[str]:
    if dataset is None:
        return [] if root is None else [f"dataset.root={root}"]
    if root is not None or any(word.startswith("dataset") for word in overrides):
        raise ValueError("give either dataset= (data in memory) or options of a stored data set, not both")
    output = next((word.partition("=")[2] for word in reversed(overrides) if word.startswith("output_dir=")), "outputs")
    folder = Path(output) / "datasets" / f"{dataset.name}-{dataset.digest[:12]}" / dataset.name
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        write_dataset(dataset, folder)
    return ["dataset=folder", f"dataset.root={folder}"]


def _result(stored: Stored) -> Result:
    return Result(stored.folder, stored.summary)
