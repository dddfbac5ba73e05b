"""Stages that do not fit the data are refused before anything is computed."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from hydra.errors import InstantiationException
from omegaconf import DictConfig

from trustmm.cli.run import build_stages
from trustmm.dataset.data import Dataset
from trustmm.graph.edges import Edges
from trustmm.job import check_fit
from trustmm.options.compose import compose_job
from trustmm.options.config import config_folder, register
from trustmm.run.cell import build_cell
from trustmm.sweep.plan import Sweep

SMALL = (
    "dataset.num_users=60",
    "dataset.num_items=40",
    "dataset.num_interactions=400",
    "rectifier.k=5",
    "tracking=none",
)


def check(data: Dataset, *overrides: str) -> None:
    """Check a job on these data, whatever its own are; ValueError where it does not fit."""
    register()
    with initialize_config_dir(version_base="1.3", config_dir=str(config_folder())):
        job, _, _ = build_stages(compose("config", overrides=[*SMALL, *overrides]))
    check_fit(job, data)


@pytest.fixture(scope="module")
def data() -> Dataset:
    register()
    with initialize_config_dir(version_base="1.3", config_dir=str(config_folder())):
        _, dataset, _ = build_stages(compose("config", overrides=list(SMALL)))
    return dataset()


def test_the_embedded_data_fit(data: Dataset) -> None:
    check(data, "rectifier=mr", "corruption.eta=0.2", "edit=both")


@pytest.mark.parametrize(
    "options", [["corruption.eta=0.2"], ["rectifier=mr"], ["edit=both", "edit.amount=auto", "edit.content=true"]]
)
def test_damage_repair_and_testimony_of_no_features_are_refused(data: Dataset, options: list[str]) -> None:
    with pytest.raises(ValueError, match="has no item features, which corruption.eta, rectifier and edit.content need"):
        check(replace(data, features={}), "backbone=lightgcn", *options)


def test_content_that_is_not_asked_needs_no_features(data: Dataset) -> None:
    for options in (["edit=none"], ["edit=both"], ["edit=both", "edit.amount=auto", "edit.content=false"]):
        check(replace(data, features={}), "backbone=lightgcn", "edit.content=true", *options)


@pytest.mark.parametrize("name", ["items", "type", "train"])
def test_modality_with_a_name_of_torch_is_refused(data: Dataset, name: str) -> None:
    with pytest.raises(ValueError, match=f"a modality must not be called '{name}'"):
        check(replace(data, features={name: data.features["visual"]}))


@pytest.mark.parametrize("split", ["valid", "test"])
def test_data_without_anybody_to_evaluate_are_refused(data: Dataset, split: str) -> None:
    nobody = Edges.from_keys(np.empty(0, dtype=np.int64), data.num_users, data.num_items)
    with pytest.raises(ValueError, match="has nothing to evaluate: none of its 0"):
        check(replace(data, **{split: nobody}))


def test_weights_that_leave_a_modality_nothing_are_refused(data: Dataset) -> None:
    with pytest.raises(ValueError, match="must leave something for"):
        check(data, "backbone=freedom", "backbone.modality_weight.visual=1.2")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["backbone=freedom", "backbone.dropout=1"], "backbone.dropout must be in"),
        (["edit=both", "edit.op=prune", "edit.ratio=1"], "edit.ratio=1 with edit.op=prune leaves nothing"),
    ],
)
def test_options_that_leave_nothing_to_train_on_are_refused(data: Dataset, options: list[str], message: str) -> None:
    with pytest.raises((ValueError, InstantiationException), match=message):
        check(data, *options)


@pytest.mark.parametrize("group", ["corruption", "rectifier", "edit", "backbone"])
def test_stage_that_does_not_derive_from_its_base_class_is_refused(group: str) -> None:
    other = {"corruption": "edit=none", "rectifier": "edit=none", "edit": "rectifier=none", "backbone": "edit=none"}
    register()
    with initialize_config_dir(version_base="1.3", config_dir=str(config_folder())):
        config = compose("config", overrides=[*SMALL, other[group]])
    config[group] = {**config[other[group].partition("=")[0]], "_partial_": group == "backbone"}
    with pytest.raises(ValueError, match=rf"{group}._target_ must be a subclass of trustmm\.{group}\.base\.\w+, got "):
        build_stages(config)


def test_a_sweep_checks_the_jobs_of_later_rounds_against_data_that_it_has_read(tmp_path: Path) -> None:
    """The rounds of a study: the data are read for the first one only."""
    sweep = Sweep(lambda words: DictConfig({}), tmp_path, lambda *arguments, **options: "")
    words = ("tracking=none", "dataset.num_users=60", "dataset.num_items=40", "dataset.num_interactions=400")
    fits, fits_not = (
        build_cell(*compose_job([*words, "rectifier.k=5", *more])) for more in ((), ("corruption.kind=frames",))
    )
    sweep._read_data([fits])
    with pytest.raises(ValueError, match=r"corruption\.kind=frames damages features with a time axis"):
        sweep._read_data([fits_not])
