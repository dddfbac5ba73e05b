"""One job, one cell of a results table: the data's way through the program."""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from trustmm.backbone.base import Backbone
from trustmm.corruption.stress import Damage, StressTest
from trustmm.dataset.data import Dataset, TrainData
from trustmm.edit.alignment import edit_diagnostics
from trustmm.edit.none import NoEdit
from trustmm.edit.prior_edit import PriorEdit
from trustmm.evaluation.full_ranking import FullRanking, Scores
from trustmm.graph.neighbours import Neighbours, NeighbourSearch, cosine_neighbours
from trustmm.prior.lightgcn import LightGCNPrior, Prior
from trustmm.rectifier.diagnostics import repair_diagnostics
from trustmm.rectifier.mending import Mend
from trustmm.rectifier.mr import ModalityRectifier, Repair
from trustmm.rectifier.none import NoRectifier
from trustmm.rectifier.oracle import OracleRectifier
from trustmm.rectifier.smooth import SmoothRectifier
from trustmm.rectifier.trust import TrustRectifier
from trustmm.seeding import stream
from trustmm.store.cache import Cache
from trustmm.store.digest import digest
from trustmm.store.identity import code_digest
from trustmm.training.checkpoint import Checkpoint, NoCheckpoint
from trustmm.training.course import Epoch
from trustmm.training.loop import OnEpoch, Training, fit, validate


@dataclass(frozen=True)
class Job:
    """The stages of a job, built and range-checked, waiting for data."""

    corruption: StressTest
    prior: LightGCNPrior
    rectifier: NoRectifier | ModalityRectifier | SmoothRectifier | TrustRectifier | OracleRectifier
    edit: NoEdit | PriorEdit
    backbone: Callable[..., Backbone]
    training: Training
    evaluation: FullRanking
    seed: int

    def __post_init__(self) -> None:
        backbone = backbone_class(self)
        if self.edit.needs_propagation and not getattr(backbone, "propagates", True):
            raise ValueError(
                f"edit=graph_only changes the edges that carry messages, but the backbone {backbone.__name__} sends "
                "none; use edit=train_only, or a backbone that does, such as backbone=lightgcn"
            )
        if self.edit.leaves_no_positives:
            raise ValueError("edit.ratio=1 with edit.op=prune leaves nothing to train on; use a smaller ratio")


@dataclass(frozen=True)
class JobResult:
    """What a job found."""

    history: list[Epoch]
    valid: Scores
    test: Scores
    diagnostics: Mapping[str, float]


def run_job(
    data: Dataset,
    job: Job,
    *,
    cache: Cache,
    on_epoch: OnEpoch,
    checkpoint: Checkpoint = NoCheckpoint(),  # noqa: B008  it has no state
) -> JobResult:
    """Run one cell of a results table.

    No MLflow, no Hydra, no global random state; files only through `cache` and `checkpoint`.

    Args:
        data: clean data, left as they are.
        job: the stages.
        cache: priors, rectified features and item graphs, shared by all jobs.
        on_epoch: told of every epoch of the prior and of the backbone.
        checkpoint: where the backbone's training is kept; the prior's lies in the cache, shared as the prior is.

    Raises: ValueError if the stages do not fit the data.
    """
    check_fit(job, data)
    device, clean = job.training.torch_device, data.as_train_data()
    corrupted, damage = job.corruption(clean, observed=data.observed)
    prior = trained_once(job, corrupted, data, cache, on_epoch)
    rectified, repairs = rectify(job, corrupted, damage, prior, cache)
    proposal = job.edit(rectified, prior, device=device)
    edited = proposal.apply(rectified, held_out=data.held_out)
    search = cached_neighbours(cache, device, edited)
    model = job.backbone(edited, rng=stream(job.seed, "init"), neighbours=search)
    masks = {"clean": data.train, "corrupted": corrupted.supervision, "edited": edited.supervision}
    on_valid, on_test = (job.evaluation.evaluator(split, masks, device) for split in (data.valid, data.test))
    history, valid = fit(
        model,
        edited.supervision,
        on_valid,
        job.training,
        seed=job.seed,
        stage="backbone",
        on_epoch=on_epoch,
        checkpoint=checkpoint,
    )
    features = (clean.features, corrupted.features, rectified.features)
    cold = corrupted.propagation.item_degree == 0
    diagnostics = repair_diagnostics(*features, repairs, damage, cold, device=device)
    diagnostics |= edit_diagnostics(proposal, prior, corrupted.supervision, damage, data) | damage_numbers(damage)
    return JobResult(history, valid, validate(model, on_test), diagnostics)


def rectify(
    job: Job, train: TrainData, damage: Damage, prior: Callable[[], Prior], cache: Cache
) -> tuple[TrainData, Mapping[str, Repair] | Mapping[str, Mend]]:
    """Rectified data, and what was done to each modality. Only the oracle is told which items were touched."""
    known: dict[str, Any] = {"touched": damage.touched} if isinstance(job.rectifier, OracleRectifier) else {}
    device = job.training.torch_device
    return job.rectifier(train, prior, eta=damage.eta, seed=job.seed, cache=cache, device=device, **known)


def check_fit(job: Job, data: Dataset) -> None:
    """Raise ValueError if a stage needs what the data do not have: before anything is computed."""
    backbone = backbone_class(job)
    if getattr(backbone, "needs_features", False) and not data.features:
        raise ValueError(
            f"the backbone {backbone.__name__} needs item features, but dataset {data.name!r} has none; "
            "use backbone=lightgcn or backbone=bpr, or a dataset with features"
        )
    for name in data.features:
        if hasattr(torch.nn.ParameterDict, name) or hasattr(torch.nn.ModuleDict, name):
            raise ValueError(f"a modality must not be called {name!r}, which is a word of torch's; rename it")
    if not data.features and (job.corruption.eta or not isinstance(job.rectifier, NoRectifier)):
        raise ValueError(
            f"dataset {data.name!r} has no item features, which corruption.eta and rectifier are about; "
            "use corruption.eta=0 rectifier=none, or a dataset with features"
        )
    for split, pairs in (("validation", data.valid), ("test", data.test)):
        if not (data.train.user_degree[pairs.users] > 0).any():
            raise ValueError(
                f"dataset {data.name!r} has nothing to evaluate: none of its {len(pairs)} {split} pairs belongs to a "
                "user with training items"
            )
    job.corruption.eta_by_modality(data.features)
    job.rectifier.check_fit(data.num_items)
    if hasattr(backbone, "check_fit"):
        backbone.check_fit(sorted(data.features), **getattr(job.backbone, "keywords", {}))


def backbone_class(job: Job) -> Any:
    """The class behind the backbone's options."""
    return job.backbone.func if isinstance(job.backbone, functools.partial) else job.backbone


def damage_numbers(damage: Damage) -> dict[str, float]:
    """Sizes of what was injected."""
    counts = {f"{name}/items_touched": float(mask.sum()) for name, mask in damage.touched.items()}
    return counts | {"edges_added": float(len(damage.added)), "edges_deleted": float(len(damage.deleted))}


def trained_once(job: Job, train: TrainData, data: Dataset, cache: Cache, on_epoch: OnEpoch) -> Callable[[], Prior]:
    """The prior of the corrupted graph, trained when a stage first asks for it."""
    return functools.cache(
        lambda: job.prior(
            train,
            data.valid,
            seed=job.seed,
            training=job.training,
            evaluation=job.evaluation,
            cache=cache,
            on_epoch=on_epoch,
        )
    )


def cached_neighbours(cache: Cache, device: torch.device, train: TrainData) -> NeighbourSearch:
    """Cosine neighbours among the features of `train`, searched once per content; only the choosable are chosen."""
    choosable = {digest(train.features[name]): mask for name, mask in train.choosable.items()}

    def search(features_ID: np.ndarray[Any, np.dtype[np.float32]], *, k: int) -> Neighbours:
        content = digest(features_ID)
        allowed = choosable.get(content)

        def compute() -> dict[str, Any]:
            found = cosine_neighbours(features_ID, k=k, device=device, choosable=allowed)
            return {name: getattr(found, name).cpu().numpy() for name in ("index", "similarity", "linked")}

        key = {"features": content, "k": k, "code": code_digest(cosine_neighbours.__module__)}
        key |= {} if allowed is None else {"choosable": digest(allowed)}
        stored = cache.arrays("neighbours", key, compute)
        return Neighbours(**{name: torch.from_numpy(array) for name, array in stored.items()})

    return search
