"""One job, which is one cell of a results table: the path of the data through the program."""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import torch
from numpy.typing import NDArray

from trustmm.backbone.base import Backbone
from trustmm.corruption.base import Corruption, Damage
from trustmm.dataset.data import Dataset, TrainData
from trustmm.edit.alignment import edit_diagnostics
from trustmm.edit.base import Edit
from trustmm.evaluation.full_ranking import FullRanking, Scores
from trustmm.graph.edges import Edges
from trustmm.graph.neighbours import NeighbourSearch
from trustmm.rectifier.base import Rectifier
from trustmm.rectifier.diagnostics import repair_diagnostics
from trustmm.seeding import stream
from trustmm.store.cache import Arrays, Cache
from trustmm.store.digest import digest
from trustmm.store.identity import code_digest, describe, targets
from trustmm.training.checkpoint import Checkpoint, NoCheckpoint
from trustmm.training.course import Epoch
from trustmm.training.loop import OnEpoch, Training, deterministic, tell
from trustmm.training.once import train_once

OnWeights = Callable[[Mapping[str, NDArray[Any]]], None]
if TYPE_CHECKING:  # the code of a stage is part of a job that uses it, not of every job
    from trustmm.prior.lightgcn import LightGCNPrior, Prior

BASES: Mapping[str, type] = {"corruption": Corruption, "rectifier": Rectifier, "edit": Edit, "backbone": Backbone}
"""The base classes of the stages that others write; they answer all that a job, a sweep or a report asks."""


@dataclass(frozen=True)
class Job:
    """The stages of a job, built and range-checked, but without data."""

    corruption: Corruption
    prior: "LightGCNPrior"
    rectifier: Rectifier
    edit: Edit
    backbone: functools.partial[Backbone]
    training: Training
    evaluation: FullRanking
    seed: int

    def __post_init__(self) -> None:
        for name, base in BASES.items():
            found = backbone_class(self) if name == "backbone" else type(getattr(self, name))
            if not issubclass(found, base):
                wanted, given = (f"{one.__module__}.{one.__qualname__}" for one in (base, found))
                raise ValueError(f"{name}._target_ must be a subclass of {wanted}, got {given}")
        backbone = backbone_class(self)
        if self.edit.needs_propagation and not backbone.propagates:
            raise ValueError(
                f"edit=graph_only changes the edges that carry messages, but the backbone {backbone.__name__} sends "
                "none; use edit=train_only, or a backbone that does, such as backbone=lightgcn"
            )
        if self.edit.wants_graph_only:
            raise ValueError(
                "edit.op=graphda and edit.op=reweigh edit message edges, not positives; use edit=graph_only"
            )
        if self.edit.leaves_no_positives:
            raise ValueError("edit.ratio=1 with edit.op=prune leaves nothing to train on; use a smaller ratio")

    def identity(self) -> dict[str, Any]:
        """What determines the result; includes the prior only if a stage may ask for it."""
        stages = {field.name: getattr(self, field.name) for field in fields(self)}
        return stages if self.busy_stages else {name: stage for name, stage in stages.items() if name != "prior"}

    @property
    def busy_stages(self) -> list[str]:
        """The rectifier and the edit, if they change anything; those ask for the prior and have diagnostics."""
        return [name for name in ("rectifier", "edit") if not getattr(self, name).idle]


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
    on_weights: OnWeights | None = None,
) -> JobResult:
    """Run one cell of a results table.

    No MLflow, no Hydra, no global random state; files only through `cache` and `checkpoint`.

    Args:
        data: clean data, left as they are.
        job: the stages.
        cache: priors, repairs, item graphs and trainings, shared by all jobs.
        on_epoch: called with every epoch of the prior and of the backbone.
        checkpoint: where the backbone's training is saved; the prior's checkpoint is in the cache and shared, like it.
        on_weights: called with the best weights of the backbone, by name.

    Raises: ValueError if the stages do not fit the data.
    """
    check_fit(job, data)
    with deterministic(job.training):
        return _run(data, job, cache, on_epoch, checkpoint, on_weights)


def _run(
    data: Dataset,
    job: Job,
    cache: Cache,
    on_epoch: OnEpoch,
    checkpoint: Checkpoint,
    on_weights: OnWeights | None,
) -> JobResult:
    device, clean = job.training.torch_device, data.as_train_data()
    corrupted, damage = job.corruption(clean, observed=data.observed)
    prior = prior_of(job, corrupted, data, cache, on_epoch)
    rectified, repairs = rectify(job, corrupted, damage, prior, cache)
    proposal = job.edit(corrupted, prior, seed=job.seed, cache=cache, device=device)
    edited = proposal.apply(rectified, held_out=data.held_out)
    masks = {"clean": data.train, "corrupted": corrupted.supervision, "edited": edited.supervision}
    on_valid, on_test = (job.evaluation.evaluator(split, masks, device) for split in (data.valid, data.test))
    seen = edited if sees_features(job) else replace(edited, features={})
    search = CachedSearch(cache, device, choosable_of(seen))
    made = train_once(
        lambda: job.backbone(seen, rng=stream(job.seed, "init"), neighbours=search),
        seen.supervision,
        on_valid,
        job.training,
        kind="training",
        key=training_key(job, seen, data.valid, masks),
        seed=job.seed,
        stage="backbone",
        cache=cache,
        on_epoch=on_epoch,
        checkpoint=checkpoint,
        weights=on_weights is not None,
    )
    if made.reused:
        tell(made.history, job.training, "backbone", on_epoch)
    if on_weights is not None:
        on_weights(made.weights)
    valid, test = (evaluate(made.final) for evaluate in (on_valid, on_test))
    features = (clean.features, corrupted.features, rectified.features)
    cold = corrupted.propagation.item_degree == 0
    diagnostics = repair_diagnostics(*features, repairs, damage, cold, device=device)
    diagnostics |= edit_diagnostics(proposal, prior, corrupted.supervision, damage, data) | damage_numbers(damage)
    return JobResult(made.history, valid, test, diagnostics)


def training_key(job: Job, seen: TrainData, valid: Edges, masks: Mapping[str, Edges]) -> dict[str, Any]:
    """Everything that the training of the backbone depends on; jobs that agree in it share one training."""
    backbone = describe(job.backbone)
    edges = {"supervision": seen.supervision, "valid": valid, **masks}
    return {
        "backbone": backbone,
        "training": describe(job.training),
        "evaluation": describe(job.evaluation),
        "edges": digest({name: pairs.keys for name, pairs in edges.items()}),
        "shape": [seen.num_users, seen.num_items],
        "messages": digest(list(seen.propagation.messages())),
        "features": digest(dict(seen.features)),
        "choosable": digest(choosable_of(seen)),
        "categories": None if seen.categories is None else digest(seen.categories),
        "seed": job.seed,
        "code": code_digest(train_once.__module__, *targets(backbone)),
    }


def sees_features(job: Job) -> bool:
    """Whether the backbone receives item features; one that needs none does not."""
    return backbone_class(job).needs_features


def rectify(
    job: Job, train: TrainData, damage: Damage, prior: "Callable[[], Prior]", cache: Cache
) -> tuple[TrainData, Mapping[str, Any]]:
    """Rectified data, and what was done to each modality. Only an oracle learns which items were touched."""
    known: dict[str, Any] = {"touched": damage.touched} if job.rectifier.oracle else {}
    device = job.training.torch_device
    return job.rectifier(train, prior, eta=damage.eta, seed=job.seed, cache=cache, device=device, **known)


def check_fit(job: Job, data: Dataset) -> None:
    """Raise ValueError, before anything is computed, if a stage needs something that the data lack."""
    backbone = backbone_class(job)
    if sees_features(job) and not data.features:
        raise ValueError(
            f"the backbone {backbone.__name__} needs item features, but dataset {data.name!r} has none; "
            "use backbone=lightgcn or backbone=bpr, or a dataset with features"
        )
    if backbone.needs_categories and data.categories is None:
        raise ValueError(
            f"the backbone {backbone.__name__} needs a category for each item, but dataset {data.name!r} has none; "
            "name the file in dataset.categories (docs/data.md), or use another backbone"
        )
    for name in data.features:
        if hasattr(torch.nn.ParameterDict, name) or hasattr(torch.nn.ModuleDict, name):
            raise ValueError(f"a modality must not be called {name!r}, which torch reserves; rename it")
    if not data.features and (
        job.corruption.needs_features or "rectifier" in job.busy_stages or job.edit.needs_features
    ):
        raise ValueError(
            f"dataset {data.name!r} has no item features, which corruption.eta, rectifier and edit.content need; "
            "use corruption.eta=0 rectifier=none edit.content=false, or a dataset with features"
        )
    for split, pairs in (("validation", data.valid), ("test", data.test)):
        if not (data.train.user_degree[pairs.users] > 0).any():
            raise ValueError(
                f"dataset {data.name!r} has nothing to evaluate: none of its {len(pairs)} {split} pairs belongs to a "
                "user with training items"
            )
    job.corruption.check_fit(data)
    job.rectifier.check_fit(data.num_items)
    backbone.check_fit(sorted(data.features), **job.backbone.keywords)


def backbone_class(job: Job) -> type[Backbone]:
    """The class behind the backbone's options."""
    found: Any = job.backbone.func
    return found


def damage_numbers(damage: Damage) -> dict[str, float]:
    """Sizes of what was injected."""
    counts = {f"{name}/items_touched": float(mask.sum()) for name, mask in damage.touched.items()}
    return counts | {"edges_added": float(len(damage.added)), "edges_deleted": float(len(damage.deleted))}


def prior_of(job: Job, train: TrainData, data: Dataset, cache: Cache, on_epoch: OnEpoch) -> "Callable[[], Prior]":
    """Gives the prior of the corrupted graph, which is trained when a stage first asks for it."""
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


def choosable_of(train: TrainData) -> dict[str, Any]:
    """Items that may be chosen as neighbours in each modality's item graph, by the digest of its features."""
    return {digest(train.features[name]): mask for name, mask in train.choosable.items() if name in train.features}


class CachedSearch(NeighbourSearch):
    """A search that runs once per content. The device decides where it runs, not what it finds.

    Args:
        cache: where the arrays are kept, under the function's name.
        device: where the products run.
        choosable: see the base class.
    """

    def __init__(self, cache: Cache, device: torch.device, choosable: Mapping[str, Any]) -> None:
        super().__init__(device, choosable)
        self.cache = cache

    def once(self, find: Callable[..., Arrays], **content: Any) -> Arrays:
        """What `find` finds for `content`, from the cache if any job has asked before."""
        key = {name: digest(value) for name, value in content.items() if name != "device"}
        key["code"] = code_digest(find.__module__)
        return self.cache.arrays(find.__name__, key, functools.partial(find, **content))
