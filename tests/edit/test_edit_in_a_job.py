"""Edits within whole jobs: what the backbone is given, which negatives are drawn, how each mask scores one model."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir  # noqa: TID251
from numpy.testing import assert_array_equal

from tests.watched import watched
from trustmm.cli.run import build_stages
from trustmm.dataset.data import Dataset, TrainData
from trustmm.job import Job, JobResult, run_job
from trustmm.options.config import config_folder, register
from trustmm.prior.lightgcn import Prior
from trustmm.store.cache import Cache

SMALL = (
    "tracking=none",
    "dataset.num_users=61",
    "dataset.num_items=41",
    "dataset.num_interactions=600",
    "dataset.modalities={visual: 7, textual: 5}",
    "training.device=cpu",
    "training.epochs=4",
    "training.batch_size=64",
    "training.learning_rate=0.01",
    "prior.epochs=4",
    "prior.batch_size=64",
    "prior.embedding_dim=8",
    "prior.learning_rate=0.01",
    "backbone.embedding_dim=8",
)
MR = ("rectifier=mr", "rectifier.k=5", "rectifier.projection.epochs=3", "rectifier.rho=0.8")
OPS = ("prune", "complete")
MODES = ("train_only", "graph_only", "both")


def make(*overrides: str) -> tuple[Dataset, Job]:
    register()
    with initialize_config_dir(version_base="1.3", config_dir=str(config_folder())):
        job, read_data, _ = build_stages(compose("config", overrides=[*SMALL, *overrides]))
    return read_data(), job


class Watched:
    """A finished job, and what its backbone was given on the way."""

    def __init__(self, *overrides: str) -> None:
        self.data, job = make("backbone=lightgcn", *overrides)
        self.stages: list[str] = []
        job, self.seen = watched(job)
        self.result: JobResult = run_job(
            self.data, job, cache=Cache(None), on_epoch=lambda stage, *_: self.stages.append(stage)
        )
        self.train = self.seen.train

    def keys(self, column: int) -> np.ndarray:
        """Keys of all drawn positives (1) or negatives (2)."""
        triples = torch.cat(self.seen.triples, dim=1).numpy()
        return np.unique(triples[0] * self.data.num_items + triples[column])


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("op", OPS)
def test_backbone_is_given_the_edited_sets_and_draws_against_its_supervision(op: str, mode: str) -> None:
    job = Watched(f"edit={mode}", f"edit.op={op}", "edit.ratio=0.2", "corruption.eta_e=0.1")
    base = Watched("corruption.eta_e=0.1").train.supervision
    count = len(base) // 5
    for name, edited in (("supervision", mode != "graph_only"), ("propagation", mode != "train_only")):
        edges = getattr(job.train, name)
        if not edited:
            assert_array_equal(edges.keys, base.keys)
        elif op == "prune":
            assert len(edges) == len(base) - count
            assert base.contains(edges.keys).all()
        else:
            assert len(base) < len(edges) == len(base) + job.result.diagnostics["edit/added"] <= len(base) + count
            assert edges.contains(base.keys).all()
            assert not edges.contains(job.data.held_out.keys).any()
    assert_array_equal(job.keys(1), job.train.supervision.keys)
    assert not job.train.supervision.contains(job.keys(2)).any()


def test_negatives_follow_supervision_not_propagation() -> None:
    pruned, graph = (
        Watched(f"edit={mode}", "edit.op=prune", "edit.ratio=0.5") for mode in ("train_only", "graph_only")
    )
    assert pruned.train.propagation.contains(pruned.keys(2)).any()  # dropped positives are negatives now
    assert not graph.train.supervision.contains(graph.keys(2)).any()
    completed = Watched("edit=graph_only", "edit.op=complete", "edit.ratio=0.5", "edit.k_user=20")
    new = np.setdiff1d(completed.train.propagation.keys, completed.train.supervision.keys)
    assert np.isin(new, completed.keys(2)).any()  # an added message is no positive: it may be drawn


@pytest.mark.parametrize("op", OPS)
def test_selection_does_not_depend_on_what_is_held_out(op: str) -> None:
    data, job = make(f"edit.op={op}", "edit=both", "edit.ratio=0.3")
    prior = job.prior(
        data.as_train_data(), data.valid, seed=0, training=job.training, evaluation=job.evaluation, cache=Cache(None),
        on_epoch=lambda *_: None,
    )  # fmt: skip
    proposal = job.edit(data.as_train_data(), lambda: prior, seed=0, cache=Cache(None), device=torch.device("cpu"))
    edited = proposal.apply(data.as_train_data(), held_out=data.held_out)
    leaked = data.held_out.contains(proposal.added.keys)
    assert leaked.any() == (op == "complete")
    assert len(edited.supervision) == len(data.train) - len(proposal.removed) + (~leaked).sum()


def recalls(job: Watched, mask: str) -> dict[str, np.ndarray]:
    return {name: values for name, values in job.result.test.per_user[mask].items() if name.startswith("recall")}


@pytest.mark.parametrize("mode", ["train_only", "both"])
def test_filtering_by_edited_positives_flatters_completion_and_never_pruning(mode: str) -> None:
    """One model, one evaluation: a hidden item steps aside for every item behind it, a pruned one comes back."""
    completed = Watched(f"edit={mode}", "edit.op=complete", "edit.ratio=0.3", "edit.k_user=20")
    pruned = Watched(f"edit={mode}", "edit.op=prune", "edit.ratio=0.5")
    for job, sign in ((completed, 1), (pruned, -1)):
        gaps = [sign * (values - recalls(job, "clean")[name]) for name, values in recalls(job, "edited").items()]
        assert min(gap.min() for gap in gaps) >= 0
        assert max(gap.max() for gap in gaps) > 0
        assert job.result.test.headline == "clean"


def test_masks_agree_where_only_messages_are_edited() -> None:
    job = Watched("edit=graph_only", "edit.op=complete", "edit.ratio=0.3", "edit.k_user=20")
    for name, values in recalls(job, "edited").items():
        assert_array_equal(values, recalls(job, "clean")[name])


def test_repair_and_edit_share_one_prior_whatever_is_damaged() -> None:
    damage = ("corruption.eta=0.3", "corruption.eta_e=0.1")
    edit = ("edit=both", "edit.op=complete", "edit.ratio=0.2")
    together, only_edit, only_repair = Watched(*damage, *MR, *edit), Watched(*damage, *edit), Watched(*damage, *MR)
    assert together.stages.count("prior") == only_edit.stages.count("prior") == only_repair.stages.count("prior") == 4
    for name in ("supervision", "propagation"):
        assert_array_equal(getattr(together.train, name).keys, getattr(only_edit.train, name).keys)
    for name, matrix in only_repair.train.features.items():
        assert_array_equal(together.train.features[name], matrix)
    merged = dict(only_edit.result.diagnostics) | dict(only_repair.result.diagnostics)
    assert together.result.diagnostics == pytest.approx(merged, nan_ok=True)


def test_prior_of_the_edit_is_trained_on_the_corrupted_graph() -> None:
    data, job = make("backbone=lightgcn", "edit=graph_only", "edit.op=prune", "corruption.eta_e=0.5")
    seen = []

    def prior(train: TrainData, *given: Any, **more: Any) -> Prior:
        seen.append(train)
        return job.prior(train, *given, **more)

    run_job(data, replace(job, prior=prior), cache=Cache(None), on_epoch=lambda *_: None)
    (train,) = seen
    assert len(train.propagation) == len(data.train) + len(data.train) // 2


@pytest.mark.parametrize("backbone", ["bpr", "vbpr"])
def test_graph_only_is_refused_before_data_are_read_where_no_messages_are_sent(backbone: str) -> None:
    with pytest.raises(ValueError, match="edit=graph_only changes the edges that carry messages, but the backbone"):
        make(f"backbone={backbone}", "edit=graph_only")
    for mode in ("none", "train_only", "both"):
        make(f"backbone={backbone}", f"edit={mode}")
