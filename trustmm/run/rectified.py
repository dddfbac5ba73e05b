"""The first stages of a job: its data as a backbone would see them."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from trustmm.job import Job, trained_once
from trustmm.run.progress import progress
from trustmm.store.cache import Cache

if TYPE_CHECKING:
    from trustmm.dataset.data import Dataset, TrainData
    from trustmm.rectifier.mr import Repair


def rectified(data: "Dataset", job: Job, cache: Cache) -> "tuple[TrainData, Mapping[str, Repair]]":
    """Data with rectified features, and what was done to each modality.

    Raises: ValueError if the rectifier does not fit the data.
    """
    observed, damage = job.corruption(data.as_train_data(), observed=data.observed)
    with progress() as show:
        return job.rectifier(
            observed,
            trained_once(job, observed, data, cache, show),
            eta=damage.eta,
            seed=job.seed,
            cache=cache,
            device=job.training.torch_device,
        )


def edited(data: "Dataset", job: Job, folder: Path) -> "TrainData":
    """What the backbone of a job is built from, priors and repairs from the cache in `folder` where they are there."""
    cache = Cache(folder)
    train, _ = rectified(data, job, cache)
    observed, _ = job.corruption(data.as_train_data(), observed=data.observed)
    with progress() as show:
        proposal = job.edit(train, trained_once(job, observed, data, cache, show), device=job.training.torch_device)
    return proposal.apply(train, held_out=data.held_out)
