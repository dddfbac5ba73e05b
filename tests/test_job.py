"""A whole job on tiny data: repeatable in every number, paired over damage, its parts computed once."""

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir  # noqa: TID251
from numpy.testing import assert_array_equal

from tests.watched import Seen, watched
from trustmm import job as job_module
from trustmm.cli.run import build_stages
from trustmm.corruption.stress import StressTest
from trustmm.dataset.data import Dataset
from trustmm.edit import prior_edit
from trustmm.evaluation.full_ranking import MASKS, Evaluator, Scores
from trustmm.graph import neighbours as neighbours_module
from trustmm.job import Job, JobResult, run_job
from trustmm.options.config import config_folder, register
from trustmm.rectifier import mr
from trustmm.store.cache import Cache
from trustmm.training import once
from trustmm.training.loop import fit, validate

SMALL = (
    "tracking=none",
    "dataset.num_users=61",
    "dataset.num_items=41",
    "dataset.num_interactions=600",
    "dataset.modalities={visual: 7, textual: 5}",
    "training.device=cpu",
    "training.epochs=3",
    "training.batch_size=64",
    "prior.epochs=2",
    "prior.batch_size=64",
    "prior.embedding_dim=8",
    "backbone.embedding_dim=8",
)
MR = ("rectifier=mr", "rectifier.k=5", "rectifier.projection.epochs=3", "rectifier.rho=0.8")


def make(*overrides: str) -> tuple[Dataset, Job]:
    register()
    with initialize_config_dir(version_base="1.3", config_dir=str(config_folder())):
        job, read_data, _ = build_stages(compose("config", overrides=[*SMALL, *overrides]))
    return read_data(), job


def run(*overrides: str, cache: Path | None = None, stages: list[str] | None = None) -> JobResult:
    def on_epoch(stage: str, *_: Any) -> None:
        if stages is not None:
            stages.append(stage)

    data, job = make(*overrides)
    return run_job(data, job, cache=Cache(cache), on_epoch=on_epoch)


def numbers(result: JobResult) -> dict[str, Any]:
    """Everything but the seconds."""

    def of(scores: Scores) -> dict[str, Any]:
        per_user = {f"{mask}/{name}": array for mask, part in scores.per_user.items() for name, array in part.items()}
        return per_user | {"users": scores.users}

    history = {f"epoch/{e.epoch}": [*e.losses.values(), *e.valid.values(), float(e.best)] for e in result.history}
    return history | {"valid": of(result.valid), "test": of(result.test), "diagnostics": dict(result.diagnostics)}


def assert_same(found: Any, expected: Any) -> None:
    assert type(found) is type(expected)
    if isinstance(expected, Mapping):
        assert list(found) == list(expected)
        for name in expected:
            assert_same(found[name], expected[name])
    else:
        assert_array_equal(found, expected)


def spied(*overrides: str) -> Seen:
    data, job = make(*overrides)
    job, seen = watched(job)
    run_job(data, job, cache=Cache(None), on_epoch=lambda *_: None)
    return seen


DAMAGED = ("corruption.eta=0.3", "corruption.eta_e=0.1")


@pytest.mark.parametrize(
    "overrides",
    [("backbone=lightgcn",), ("backbone=freedom", *MR, *DAMAGED), ("backbone=vbpr", "rectifier=mr", "rectifier.k=5")],
    ids=lambda overrides: overrides[0],
)
def test_equal_jobs_give_equal_results_with_no_cold_and_warm_cache(overrides: tuple[str, ...], tmp_path: Path) -> None:
    expected = numbers(run(*overrides))
    assert_same(numbers(run(*overrides)), expected)
    for _ in range(2):
        assert_same(numbers(run(*overrides, cache=tmp_path)), expected)


def test_result_does_not_depend_on_torch_global_generator() -> None:
    torch.manual_seed(1)
    first = run("backbone=lightgcn")
    torch.manual_seed(2)
    np.random.seed(3)  # noqa: NPY002
    assert_same(numbers(run("backbone=lightgcn")), numbers(first))


@pytest.mark.parametrize("seed", [0, 1])
def test_seed_moves_the_weights_and_the_triples(seed: int) -> None:
    first, second = spied("backbone=bpr", "seed=0"), spied("backbone=bpr", f"seed={seed}")
    same = all(torch.equal(first.weights[name], second.weights[name]) for name in first.weights)
    assert same == (seed == 0)
    assert torch.equal(torch.cat(first.triples, 1), torch.cat(second.triples, 1)) == (seed == 0)


@pytest.mark.parametrize("backbone", ["bpr", "vbpr", "lightgcn"])
def test_damaged_features_leave_initial_weights_and_triples_paired(backbone: str) -> None:
    clean, damaged = (spied(f"backbone={backbone}", f"corruption.eta={eta}") for eta in (0, 0.5))
    assert list(clean.weights) == list(damaged.weights)
    for name, value in clean.weights.items():
        if not torch.equal(value, damaged.weights[name]):
            raise AssertionError(f"{name} starts differently")
    assert len(clean.triples) == len(damaged.triples) > 0
    assert torch.equal(torch.cat(clean.triples, 1), torch.cat(damaged.triples, 1))


def test_damaged_edges_and_repair_leave_initial_weights_paired() -> None:
    clean, noisy, repaired = (
        spied("backbone=bpr"),
        spied("backbone=bpr", "corruption.eta_e=0.2"),
        spied("backbone=bpr", *MR),
    )
    for other in (noisy, repaired):
        assert all(torch.equal(clean.weights[name], other.weights[name]) for name in clean.weights)
    assert torch.equal(torch.cat(clean.triples, 1), torch.cat(repaired.triples, 1))


def test_eta_changes_features_only() -> None:
    data, _ = make()
    damaged = spied("backbone=vbpr", "corruption.eta=0.5").train
    assert_array_equal(damaged.supervision.keys, data.train.keys)
    assert_array_equal(damaged.propagation.keys, data.train.keys)
    for name, matrix in data.features.items():
        changed = (damaged.features[name] != matrix).any(axis=1)
        assert 1 < changed.sum() <= 20


def test_eta_e_changes_edges_only() -> None:
    data, _ = make()
    damaged = spied("backbone=vbpr", "corruption.eta_e=-0.5").train
    assert len(damaged.supervision) == len(data.train) - len(data.train) // 2
    assert damaged.propagation is damaged.supervision
    for name, matrix in data.features.items():
        assert_array_equal(damaged.features[name], matrix)


def test_added_edges_are_never_held_out_pairs() -> None:
    data, _ = make()
    damaged = spied("backbone=bpr", "corruption.eta_e=1.0").train
    assert len(damaged.supervision) == 2 * len(data.train)
    for split in (data.valid, data.test):
        assert not damaged.supervision.contains(split.keys).any()


def test_method_sees_the_rectified_features() -> None:
    damaged, repaired = spied("backbone=vbpr", *DAMAGED), spied("backbone=vbpr", *MR, *DAMAGED)
    assert damaged.train.features
    assert_array_equal(damaged.train.supervision.keys, repaired.train.supervision.keys)
    for name, matrix in damaged.train.features.items():
        assert (repaired.train.features[name] != matrix).any(axis=1).all()


def test_job_leaves_the_data_as_they_are() -> None:
    data, job = make(*MR, *DAMAGED)
    before = data.content_digest
    run_job(data, job, cache=Cache(None), on_epoch=lambda *_: None)
    again = Dataset(data.name, data.train, data.valid, data.test, data.features)
    assert again.content_digest == before


def prior_epochs(*overrides: str, cache: Path) -> int:
    stages: list[str] = []
    run("backbone=bpr", *overrides, cache=cache, stages=stages)
    assert stages.count("backbone") == 3
    return stages.count("prior")


def test_prior_is_trained_only_when_asked_for_and_once_per_content(tmp_path: Path) -> None:
    assert prior_epochs(cache=tmp_path) == 0
    assert prior_epochs(*MR, cache=tmp_path) == 2
    assert prior_epochs(*MR, cache=tmp_path) == 0
    assert prior_epochs(*MR, "corruption.eta=0.4", "rectifier.lam=0.3", cache=tmp_path) == 0
    assert prior_epochs(*MR, "backbone.embedding_dim=4", "training.learning_rate=0.01", cache=tmp_path) == 0
    assert len(list((tmp_path / "prior").glob("*.npz"))) == 1
    for change in ("corruption.eta_e=-0.1", "seed=1", "dataset.seed=1", "prior.reg=0.1", "prior.num_layers=1"):
        assert prior_epochs(*MR, change, cache=tmp_path) == 2
    assert len(list((tmp_path / "prior").glob("*.npz"))) == 6


def test_item_graphs_are_kept_by_content(tmp_path: Path) -> None:
    counts = []
    for overrides in ((), (), ("corruption.eta_of.visual=0.4",), ("backbone.k=4",), ("backbone.reg=0",)):
        run("backbone=freedom", *overrides, cache=tmp_path)
        counts.append(len(list((tmp_path / "nearest").glob("*.npz"))))
    assert counts == [2, 2, 3, 5, 5]


def test_what_only_edges_determine_is_kept_by_content_and_shared_by_models(tmp_path: Path) -> None:
    counts = []
    for overrides in (
        ("backbone=dualgnn",),
        ("backbone=dragon", "corruption.eta_of.visual=0.4"),
        ("backbone=dragon", "backbone.k_users=7"),
        ("backbone=dualgnn", "corruption.eta_e=0.1"),
    ):
        run(*overrides, cache=tmp_path)
        counts.append(len(list((tmp_path / "most_in_common").glob("*.npz"))))
    assert counts == [1, 1, 2, 3]


def test_masks_coincide_where_nothing_is_edited() -> None:
    for scores in (run("backbone=bpr").test, run("backbone=bpr").valid):
        for mask in MASKS:
            assert_same(dict(scores.per_user[mask]), dict(scores.per_user["clean"]))


def test_added_edges_are_hidden_under_the_corrupted_and_edited_masks_only() -> None:
    scores = run("backbone=bpr", "corruption.eta_e=1.0").test
    assert_same(dict(scores.per_user["edited"]), dict(scores.per_user["corrupted"]))
    assert scores.means_of("clean") != scores.means_of("corrupted")
    assert scores.means == scores.means_of("clean")


def test_evaluated_users_are_the_same_in_every_cell() -> None:
    clean, damaged = run("backbone=bpr"), run("backbone=bpr", "corruption.eta_e=-0.9", "corruption.eta=1.0")
    assert_array_equal(damaged.test.users, clean.test.users)
    assert_array_equal(damaged.valid.users, clean.valid.users)


def test_test_scores_are_those_of_the_best_validation_weights() -> None:
    result = run("backbone=bpr", "training.epochs=8", "training.learning_rate=0.05")
    best = [epoch for epoch in result.history if epoch.best][-1]
    assert result.valid.means == best.valid


def test_valid_and_test_are_their_own_splits_ranked_by_the_final_model() -> None:
    data, job = make("backbone=bpr")
    job, seen = watched(job)
    result = run_job(data, job, cache=Cache(None), on_epoch=lambda *_: None)
    for split, scores in ((data.valid, result.valid), (data.test, result.test)):
        evaluator = job.evaluation.evaluator(split, dict.fromkeys(MASKS, data.train), torch.device("cpu"))
        assert scores.means == validate(seen.model, evaluator).means
    assert result.valid.means != result.test.means


def test_diagnostics_count_the_damage_and_describe_the_repair() -> None:
    plain = run("backbone=bpr", *DAMAGED).diagnostics
    added = len(make()[0].train) // 10
    assert plain == {"textual/items_touched": 12, "visual/items_touched": 12, "edges_added": added, "edges_deleted": 0}
    repaired = run("backbone=bpr", *MR, *DAMAGED).diagnostics
    assert plain.items() <= repaired.items()
    for name in ("visual/touched/rectified_to_clean", "textual/untouched/anchor_cosine", "visual/hub_gini_row_norm"):
        assert np.isfinite(repaired[name])
    assert repaired["visual/rho"] == pytest.approx(0.8)


def test_backbone_that_needs_features_refuses_data_without() -> None:
    data, job = make("backbone=vbpr")
    bare = Dataset("bare", data.train, data.valid, data.test, {})
    with pytest.raises(
        ValueError, match="VBPR needs item features, but dataset 'bare' has none; use backbone=lightgcn"
    ):
        run_job(bare, job, cache=Cache(None), on_epoch=lambda *_: None)


def test_backbone_without_features_runs_on_data_without() -> None:
    data, job = make("backbone=bpr")
    bare = Dataset("bare", data.train, data.valid, data.test, {})
    assert len(run_job(bare, job, cache=Cache(None), on_epoch=lambda *_: None).history) == 3


def trainings(folder: Path, *overrides: str, monkeypatch: pytest.MonkeyPatch) -> tuple[int, JobResult]:
    """How many trainings of the backbone a job made itself, and its result."""
    made, stages = [], []
    with monkeypatch.context() as patch:
        patch.setattr(once, "fit", lambda *given, **named: made.append(named["stage"]) or fit(*given, **named))
        result = run(*overrides, cache=folder, stages=stages)
    assert stages.count("backbone") == len(result.history) == 3
    return made.count("backbone"), result


@pytest.mark.parametrize("backbone", ["bpr", "lightgcn"])
def test_backbone_without_features_is_trained_once_for_all_features(
    backbone: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = functools.partial(trainings, tmp_path, f"backbone={backbone}", monkeypatch=monkeypatch)
    first, clean = made()
    assert first == 1
    for same in (("corruption.eta=0.3",), (*MR,), (*MR, "corruption.eta=0.3", "corruption.seed=4")):
        count, result = made(*same)
        assert count == 0
        assert_same(numbers(result) | {"diagnostics": 0}, numbers(clean) | {"diagnostics": 0})
        assert_same(numbers(result), numbers(run(f"backbone={backbone}", *same)))
        assert dict(result.diagnostics) != dict(clean.diagnostics)
    for other in ("seed=1", "corruption.eta_e=0.1", "backbone.reg=0.5", "training.batch_size=32", "dataset.seed=1"):
        assert made(other)[0] == 1


def test_backbone_with_features_is_trained_once_for_equal_features(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = functools.partial(trainings, tmp_path, "backbone=vbpr", monkeypatch=monkeypatch)
    assert [made()[0], made()[0], made(*MR, "rectifier.lam=1")[0]] == [1, 0, 0]
    assert [made("corruption.eta=0.3")[0], made(*MR)[0], made("dataset.content=0")[0]] == [1, 1, 1]


def test_backbone_that_can_do_without_features_never_sees_them() -> None:
    data, job = make("backbone=bpr", *DAMAGED)
    job, seen = watched(job)
    run_job(data, job, cache=Cache(None), on_epoch=lambda *_: None)
    assert dict(seen.train.features) == {}


def test_everything_in_a_job_runs_in_deterministic_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not the training alone: repair, edit, graphs, the evaluation on test and the diagnostics give numbers, too."""
    modes: dict[str, set[bool]] = {}

    def watch(owner: Any, name: str) -> None:
        inner = getattr(owner, name)

        def watched(*given: Any, **named: Any) -> Any:
            modes.setdefault(name, set()).add(torch.are_deterministic_algorithms_enabled())
            return inner(*given, **named)

        monkeypatch.setattr(owner, name, watched)

    watch(StressTest, "__call__")
    watch(Evaluator, "__call__")
    watch(mr, "fit_projections")
    watch(mr, "sinkhorn")
    watch(mr, "mix")
    watch(prior_edit, "strongest_pairs")
    for name in ("fit", "final_scorer"):
        watch(once, name)
    for name in ("repair_diagnostics", "edit_diagnostics"):
        watch(job_module, name)
    watch(neighbours_module, "unit_neighbours")
    run("backbone=lattice", *MR, *DAMAGED, "edit=both", "edit.op=complete", "edit.ratio=0.05")
    assert len(modes) == 10
    assert set().union(*modes.values()) == {True}
    assert not torch.are_deterministic_algorithms_enabled()
    modes.clear()
    run("backbone=vbpr", "training.deterministic=false")
    assert set().union(*modes.values()) == {False}


def test_weights_are_kept_with_a_training_and_an_equal_job_gets_them_without_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def made(*overrides: str, keep: bool) -> tuple[int, dict[str, Any]]:
        data, job = make("backbone=lightgcn", *overrides)
        count, kept = [], {}
        with monkeypatch.context() as patch:
            patch.setattr(once, "fit", lambda *given, **named: count.append(named["stage"]) or fit(*given, **named))
            on_weights = kept.update if keep else None
            run_job(data, job, cache=Cache(tmp_path), on_epoch=lambda *_: None, on_weights=on_weights)
        return count.count("backbone"), kept

    assert made(keep=False) == (1, {})
    first, weights = made("corruption.eta=0.3", keep=True)  # the first kept none
    second, again = made(*MR, keep=True)
    assert (first, second) == (1, 0)
    assert_same(again, weights)
    assert weights
    assert made("seed=1", keep=True)[0] == 1
    assert made("seed=1", "corruption.eta=0.3", keep=False)[0] == 0
    for path in (tmp_path / "model").glob("*.npz"):
        path.write_bytes(b"damaged")
    assert made("seed=1", keep=False)[0] == 1
    assert made("seed=1", keep=True)[1]  # what takes the place of an entry with weights has weights, too
