"""The frame: open nodes, closed rest, sweeps by content."""

import functools

import pytest
from hydra import compose, initialize_config_dir  # noqa: TID251
from hydra.errors import ConfigCompositionException  # noqa: TID251
from omegaconf import DictConfig, OmegaConf

from trustmm.options.config import STAGES, JobConfig, config_folder, register
from trustmm.run.cell import build_stages


@functools.cache
def composed(*overrides: str) -> DictConfig:
    register()
    with initialize_config_dir(version_base="1.3", config_dir=str(config_folder())):
        return compose("config", overrides=list(overrides))


def test_default_job_is_freedom_on_clean_synthetic_data_without_repair() -> None:
    config = composed()
    assert config.dataset._target_.endswith("SyntheticDataset")
    assert config.backbone._target_.endswith("FREEDOM")
    assert config.rectifier._target_.endswith("NoRectifier")
    assert config.edit._target_.endswith("NoEdit")
    assert config.corruption.eta == config.corruption.eta_e == config.seed == config.corruption.seed == 0
    assert set(STAGES) < set(config)
    assert set(config) <= set(JobConfig.__dataclass_fields__)


def test_paper_defaults_are_in_place() -> None:
    rectifier = composed("rectifier=mr").rectifier
    assert (rectifier.lam, rectifier.tau, rectifier.k, rectifier.num_sweeps, rectifier.eps) == (0.5, 0.1, 20, 50, 1e-8)
    assert (rectifier.projection.epochs, rectifier.projection.learning_rate) == (50, 1e-3)
    assert (rectifier.projection.batch_size, rectifier.rho) == (1024, "estimate")
    training = composed().training
    assert (training.epochs, training.patience, training.batch_size, training.learning_rate) == (1000, 30, 2048, 1e-3)


def test_ablations_change_one_key_each() -> None:
    full, rows, pairs = (composed(f"rectifier={name}").rectifier for name in ("mr", "mr_row_norm", "mr_all_pairs"))
    assert rows == OmegaConf.merge(full, {"matching": "row_norm"})
    assert pairs == OmegaConf.merge(full, {"rho": 1.0})


def test_none_rectifier_has_the_keys_of_the_others() -> None:
    none, full, trust = (composed(f"rectifier={name}").rectifier for name in ("none", "mr", "trust"))
    assert set(none) == set(full) | set(trust)
    assert all(none[key] == trust[key] for key in set(trust) - {"_target_"})
    assert set(none.projection) == set(full.projection) - {"_target_"}


@pytest.mark.parametrize("option", ["none", "trust", "oracle"])
def test_keys_of_trust_compose_with_its_controls(option: str) -> None:
    changed = composed(
        f"rectifier={option}", "rectifier.impute=ridge", "rectifier.mask=true", "rectifier.k=7"
    ).rectifier
    assert (changed.impute, changed.mask, changed.k) == ("ridge", True, 7)


@pytest.mark.parametrize(
    ("override", "key", "value"),
    [
        ("corruption.eta_of.visual=0.2", "corruption.eta_of.visual", 0.2),
        ("corruption.eta_of.my_own_modality=0.2", "corruption.eta_of.my_own_modality", 0.2),
        ("backbone.modality_weight.acoustic=0.3", "backbone.modality_weight.acoustic", 0.3),
        ("dataset.modalities.acoustic=9", "dataset.modalities.acoustic", 9),
    ],
)
def test_open_nodes_take_any_name_without_a_plus(override: str, key: str, value: float) -> None:
    assert OmegaConf.select(composed(override), key) == value


@pytest.mark.parametrize("option", ["none", "mr", "mr_row_norm", "mr_all_pairs"])
def test_keys_of_a_rectifier_compose_with_every_option(option: str) -> None:
    assert composed(f"rectifier={option}", "rectifier.lam=0.25", "rectifier.projection.epochs=3").rectifier.lam == 0.25


@pytest.mark.parametrize(
    "override",
    [
        "corruption.etaof.visual=0.2",
        "corruption.eat=0.2",
        "corruptoin.eta=0.2",
        "rectifier.lamb=0.2",
        "sede=1",
        "training.optimizer.lr=1",
        "dataset.modality.visual=3",
    ],
)
def test_unknown_keys_elsewhere_are_refused_at_composition(override: str) -> None:
    with pytest.raises(ConfigCompositionException, match="Could not override"):
        composed(override)


@pytest.mark.parametrize("override", ["seed=half", "resume=7.5", "seed=0.5", "resume=5", "seed=true", "output_dir=5"])
def test_frame_is_typed(override: str) -> None:
    with pytest.raises(ValueError, match=f"^{override.partition('=')[0]} must be "):
        build_stages(composed(override))


def sweep_id(*overrides: str) -> str:
    register()
    return str(OmegaConf.create({"name": "${sweep_id:${words}}", "words": list(overrides)}).name)


def test_sweep_id_does_not_depend_on_the_order_of_arguments() -> None:
    assert sweep_id("seed=0,1", "corruption.eta=0,0.1") == sweep_id("corruption.eta=0,0.1", "seed=0,1")
    assert sweep_id("seed=0,1") != sweep_id("seed=0,1,2")
    assert len(sweep_id("seed=0,1")) == 12


def test_sweep_of_a_template_has_a_folder_of_its_own() -> None:
    names = [OmegaConf.create({"name": f"${{sweep_id:[],{name}}}"}).name for name in ("config", "fig5", "table2")]
    assert len(set(names)) == 3
    assert names[1].startswith("fig5-")


def test_cache_lies_in_the_output_folder() -> None:
    assert composed("output_dir=elsewhere").cache_dir == "elsewhere/cache"
    assert composed("cache_dir=shared").cache_dir == "shared"
