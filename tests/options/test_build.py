"""From options to stages: what may be built, and what the refusals say."""

import functools
import os
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir  # noqa: TID251
from omegaconf import DictConfig, OmegaConf

from trustmm.options.build import build, check_options, find_target, unknown_key
from trustmm.options.config import STAGES, config_folder, register
from trustmm.rectifier.mr import ModalityRectifier
from trustmm.rectifier.none import NoRectifier

GROUPS = sorted(folder.name for folder in config_folder().iterdir() if folder.is_dir() and folder.name in STAGES)
OPTIONS = [(group, path.stem) for group in GROUPS for path in sorted((config_folder() / group).glob("*.yaml"))]


@functools.cache
def composed(*overrides: str) -> DictConfig:
    register()
    with initialize_config_dir(version_base="1.3", config_dir=str(config_folder())):
        return compose("config", overrides=list(overrides))


def made(group: str, *overrides: str) -> Any:
    return build(composed(*overrides), group)


def refused(group: str, *overrides: str) -> str:
    config = composed(*overrides)
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        build(config, group)
    return str(caught.value)


@pytest.mark.parametrize(("group", "option"), OPTIONS, ids=["/".join(pair) for pair in OPTIONS])
def test_every_option_composes_and_builds(
    group: str, option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRUSTMM_DATA", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    named = ["dataset.name=toys"] if (group, option) == ("dataset", "folder") else []
    stage = made(group, f"{group}={option}", *named)
    used = {"training": "rate", "evaluation": "evaluator", "tracking": "run"}.get(group, "__call__")
    assert callable(getattr(stage, used))
    assert list(tmp_path.iterdir()) == []
    first = (config_folder() / group / f"{option}.yaml").read_text().splitlines()[0]
    assert first.startswith("# ")


def test_every_stage_has_a_group_of_options() -> None:
    assert sorted(STAGES) == GROUPS


@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "builtins.eval",
        "subprocess.Popen",
        "torch.nn.Linear",
        "torch.optimizer.Adam",
        "trustmmx.cache.Cache",
        "trustmm.store.cache.os.system",
        "trustmm.store.cache.tempfile.mkstemp",
        "trustmm.store.cache.tempfile.NamedTemporaryFile",
        "trustmm.store.cache.Path",
        "trustmm.store.cache.os",
        "trustmm.store.cache.digest",
        "trustmm.store.cache.Cache.arrays",
        "trustmm.store.cache.atomic",
        "trustmm.store.job_folder.json.JSONDecoder",
        "trustmm.no.such.Thing",
        "trustmm.store.cache.Nothing",
        "trustmm.store.cache.",
        "trustmm.",
        "trustmm",
        "trustmm..cache.Cache",
        ".cache.Cache",
        "torch.optim.lr_scheduler.partial",
        "torch.optim.sys.exit",
        "",
        "Adam",
        7,
        None,
    ],
)
def test_targets_that_are_not_classes_of_this_package_or_torch_optim_are_refused(target: Any) -> None:
    with pytest.raises(ValueError, match=r"^edit._target_ must be a class in trustmm or torch.optim, got "):
        check_options({"_target_": target}, "edit")


def test_allowed_targets_are_found() -> None:
    assert find_target("trustmm.rectifier.none.NoRectifier", "key") is NoRectifier
    assert find_target("torch.optim.Adam", "key") is torch.optim.Adam
    assert find_target("torch.optim.sgd.SGD", "key") is torch.optim.SGD


@pytest.mark.parametrize(
    "options",
    [
        {"a": {"_target_": "os.system"}},
        {"a": {"b": [{"c": {"_target_": "os.system"}}]}},
        {"a": [[{"_target_": "os.system"}]]},
        {"_target_": "trustmm.edit.none.NoEdit", "a": {"_target_": "os.system"}},
        [{"_target_": "os.system"}],
    ],
)
def test_nested_targets_are_refused_with_their_place(options: Any) -> None:
    with pytest.raises(
        ValueError, match=r"^edit[\w.\[\]]*\._target_ must be a class in trustmm or torch.optim, got 'os"
    ):
        check_options(options, "edit")


@pytest.mark.parametrize("group", ["rectifier", "edit", "training", "tracking", "backbone"])
def test_target_from_the_command_line_is_refused_before_it_runs(group: str, tmp_path: Path) -> None:
    witness = tmp_path / "ran"
    message = refused(group, f"+{group}.extra={{_target_: os.system, command: 'touch {witness}'}}")
    assert "_target_ must be a class" in message
    assert not witness.exists()


@pytest.mark.parametrize("name", ["_args_", "_recursive_", "_convert_"])
@pytest.mark.parametrize("group", ["training", "rectifier", "edit"])
def test_hydra_words_are_no_keys(name: str, group: str) -> None:
    message = refused(group, f"+{group}.{name}=[touch]")
    assert message.startswith(f"unknown key {group}.{name}")


@pytest.mark.parametrize("name", ["train", "rng", "neighbours"])
@pytest.mark.parametrize("group", ["backbone", "rectifier"])
def test_runtime_arguments_cannot_be_given(name: str, group: str) -> None:
    assert refused(group, f"+{group}.{name}=1").startswith(f"unknown key {group}.{name}")


@pytest.mark.parametrize("name", ["params", "lr"])
def test_what_the_loop_gives_the_optimizer_cannot_be_given(name: str) -> None:
    assert refused("training", f"+training.optimizer.{name}=1").startswith(f"unknown key training.optimizer.{name}")


@pytest.mark.parametrize(
    ("group", "override", "nearest"),
    [
        ("rectifier", "+rectifier.lamb=0.5", "rectifier.lam"),
        ("training", "+training.epoch=3", "training.epochs"),
        ("corruption", "+corruption.etaof=3", "corruption.eta_of"),
        ("training", "+training.optimizer.beta=3", "training.optimizer.betas"),
        ("rectifier", "+rectifier.projection.epoch=3", "rectifier.projection.epochs"),
    ],
)
def test_unknown_keys_name_the_nearest(group: str, override: str, nearest: str) -> None:
    wrong = override.split("=")[0].removeprefix("+")
    message = refused(group, *(["rectifier=mr"] if group == "rectifier" else []), override)
    assert message.startswith(f"unknown key {wrong}; did you mean ")
    assert nearest in message


def test_unknown_keys_far_from_all_list_what_there_is() -> None:
    assert unknown_key("edit.zzzzzzzzzzzz", ["edit.op", "edit.ratio", "prior.reg"]) == (
        "unknown key edit.zzzzzzzzzzzz; available: edit.op, edit.ratio"
    )


@pytest.mark.parametrize(
    ("group", "overrides", "message"),
    [
        ("corruption", ["corruption.eta=1.7"], "corruption.eta must be in [0, 1], got 1.7"),
        ("corruption", ["corruption.eta=-0.1"], "corruption.eta must be in [0, 1], got -0.1"),
        ("corruption", ["corruption.eta=much"], "corruption.eta must be a number, got 'much'"),
        ("corruption", ["corruption.eta=true"], "corruption.eta must be a number, got True"),
        ("corruption", ["corruption.eta=null"], "corruption.eta must be a number, got None"),
        ("corruption", ["corruption.eta_of.visual=2"], "corruption.eta_of.visual must be in [0, 1], got 2"),
        ("corruption", ["corruption.eta_e=-1"], "corruption.eta_e must be in (-1, 1], got -1"),
        ("corruption", ["corruption.seed=-1"], "corruption.seed must be in [0, inf), got -1"),
        ("corruption", ["corruption.seed=0.5"], "corruption.seed must be an integer, got 0.5"),
        ("rectifier", ["rectifier=mr", "rectifier.lam=1.01"], "rectifier.lam must be in [0, 1], got 1.01"),
        ("rectifier", ["rectifier=mr", "rectifier.tau=0.001"], "rectifier.tau must be in [0.01, inf), got 0.001"),
        ("rectifier", ["rectifier=mr", "rectifier.k=0"], "rectifier.k must be in [1, inf), got 0"),
        ("rectifier", ["rectifier=mr", "rectifier.rho=0"],
         "rectifier.rho must be in (0, 1] or paper or drop or estimate, got 0"),
        ("rectifier", ["rectifier=mr", "rectifier.rho=papr"],
         "rectifier.rho must be a number or paper or drop or estimate, got 'papr'"),
        ("rectifier", ["rectifier=mr", "rectifier.matching=row"],
         "rectifier.matching must be sinkhorn or row_norm, got 'row'"),
        ("rectifier", ["rectifier=mr", "rectifier.projection.epochs=0"],
         "rectifier.projection.epochs must be in [1, inf), got 0"),
        ("training", ["training.learning_rate=0"], "training.learning_rate must be in (0, inf), got 0"),
        ("training", ["training.epochs=2.5"], "training.epochs must be an integer, got 2.5"),
        ("training", ["training.device=tpu"], "training.device must be auto or cpu or cuda, got 'tpu'"),
        ("training", ["training.deterministic=1"], "training.deterministic must be true or false, got 1"),
        ("evaluation", ["evaluation.cutoffs=10"], "evaluation.cutoffs must be a list, got 10"),
        ("evaluation", ["evaluation.cutoffs=[10,0]"], "evaluation.cutoffs[1] must be in [1, inf), got 0"),
        ("evaluation", ["evaluation.filter=dirty"],
         "evaluation.filter must be clean or corrupted or edited, got 'dirty'"),
        ("dataset", ["dataset.modalities.visual=0"], "dataset.modalities.visual must be in [1, inf), got 0"),
        ("backbone", ["backbone.embedding_dim=0"], "backbone.embedding_dim must be in [1, inf), got 0"),
    ],
)  # fmt: skip
def test_wrong_types_and_ranges_name_key_value_and_what_is_allowed(
    group: str, overrides: list[str], message: str
) -> None:
    assert refused(group, *overrides) == message


def test_keys_that_must_be_given_are_named() -> None:
    assert refused("dataset", "dataset=folder", "dataset.name=???").startswith("dataset.name must be given")
    with pytest.raises(ValueError, match=r"^edit.batch_size, edit.filter, edit.metrics must be given$"):
        check_options({"_target_": "trustmm.evaluation.full_ranking.FullRanking", "cutoffs": [10]}, "edit")


def test_group_without_an_option_is_refused() -> None:
    config = OmegaConf.create({"edit": None})
    with pytest.raises(ValueError, match=re.escape("edit must be one of the options in conf/edit, got null")):
        build(config, "edit")


def test_none_rectifier_takes_the_keys_of_the_others() -> None:
    assert isinstance(made("rectifier", "rectifier=none", "rectifier.lam=0.3", "rectifier.k=7"), NoRectifier)
    rectifier = made("rectifier", "rectifier=mr", "rectifier.lam=0.3", "rectifier.k=7")
    assert isinstance(rectifier, ModalityRectifier)
    assert (rectifier.lam, rectifier.k, rectifier.projection.batch_size) == (0.3, 7, 1024)


def test_backbone_and_optimizer_wait_for_their_data() -> None:
    backbone, training = made("backbone"), made("training")
    assert isinstance(backbone, functools.partial)
    assert isinstance(training.optimizer, functools.partial)
    weight = torch.nn.Parameter(torch.zeros(2))
    assert training.optimizer([weight], lr=0.5).param_groups[0]["lr"] == 0.5


def test_built_values_are_plain_python() -> None:
    corruption = made("corruption", "corruption.eta_of.visual=0.2")
    assert type(corruption.eta_of) is dict
    assert type(made("evaluation").cutoffs) is list


def test_environment_names_the_data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRUSTMM_DATA", str(tmp_path))
    assert Path(made("dataset", "dataset=sports").root) == tmp_path
    assert Path(made("dataset", "dataset=sports", f"dataset.root={os.sep}elsewhere").root) == Path("/elsewhere")
