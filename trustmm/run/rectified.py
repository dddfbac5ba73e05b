"""The first stages of a job: its data as a backbone would see them."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from trustmm.job import Job, prior_of, rectify
from trustmm.run.progress import progress
from trustmm.store.cache import Cache
from trustmm.training.loop import deterministic

if TYPE_CHECKING:
    from trustmm.corruption.base import Damage
    from trustmm.dataset.data import Dataset, TrainData


def rectified(data: "Dataset", job: Job, cache: Cache) -> "tuple[TrainData, Mapping[str, Any], Damage]":
    """Data with rectified features, what was done to each modality, and what was injected.

    Raises: ValueError if the rectifier does not fit the data.
    """
    observed, damage = job.corruption(data.as_train_data(), observed=data.observed)
    with deterministic(job.training), progress() as show:
        return *rectify(job, observed, damage, prior_of(job, observed, data, cache, show), cache), damage


def edited(data: "Dataset", job: Job, cache: Cache) -> "TrainData":
    """What the backbone of a job is built from, priors and repairs from the cache where they are there."""
    observed, damage = job.corruption(data.as_train_data(), observed=data.observed)
    with deterministic(job.training), progress() as show:
        prior = prior_of(job, observed, data, cache, show)
        train, _ = rectify(job, observed, damage, prior, cache)
        proposal = job.edit(observed, prior, seed=job.seed, cache=cache, device=job.training.torch_device)
    return proposal.apply(train, held_out=data.held_out)
