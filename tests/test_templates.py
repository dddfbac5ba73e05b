"""Every template starts with its question, its command and its number of jobs, and composes to that number."""

import copy
import functools
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from omegaconf import OmegaConf

from trustmm.cli.run import build_stages
from trustmm.job import Job
from trustmm.options.config import config_folder, register
from trustmm.store.identity import describe
from trustmm.study.command import variants
from trustmm.study.options import StudyOptions
from trustmm.study.question import Objectives, check_options
from trustmm.study.space import Space, parse_space

FOLDER = Path(__file__).resolve().parent.parent / "multirun_templates"
SEARCH = f"hydra.searchpath=[file://{config_folder()}]"
TEMPLATES = sorted(path.stem for path in FOLDER.glob("*.yaml"))
CONTROLS = [template for template in TEMPLATES if template.endswith("controls")]
FIGURES = {
    "table2_clean",
    "fig2_modality_robustness",
    "fig2_repairs",
    "fig3_lambda_tau",
    "fig3_optuna",
    "fig5_ablation",
    "edge_amount",
    "repair_x_edit",
}


def composed(template: str, *overrides: str, hydra: bool = False) -> Any:
    with initialize_config_dir(version_base="1.3", config_dir=str(FOLDER)):
        return compose(template, overrides=[SEARCH, "tracking=none", *overrides], return_hydra_config=hydra)


def spaces(template: str) -> list[tuple[Space, int]]:
    """Of every study of a template: where it looks, and its number of jobs."""
    register()
    Plugins.instance()
    sweeper = composed(template, hydra=True).hydra.sweeper
    if "n_trials" not in sweeper:
        space = parse_space(sweeper.params, [])
        return [(space, len(space.cells()) * max(sweeper.get("looks", [1])))]
    options = StudyOptions(**{key: value for key, value in sweeper.items() if key != "_target_"})
    for variant in (found := variants(options, [], FOLDER)):
        check_options(options, variant.space, Objectives.of(options))
    assert options.n_trials is not None
    return [(variant.space, options.n_trials) for variant in found]


def jobs(template: str) -> list[list[str]]:
    """The overrides of every job of a grid."""
    ((space, _),) = spaces(template)
    return [list(space.overrides(cell)) for cell in space.cells()]


def seeds(template: str) -> list[str]:
    """Different seeds of a grid's jobs, as overrides, in their order; none if the seed is not swept."""
    return list(dict.fromkeys(word for overrides in jobs(template) for word in overrides if word.startswith("seed=")))


@functools.cache
def built(template: str) -> list[tuple[Any, Job]]:
    """Configuration and stages of every job of a grid; of jobs that differ by their seed, of the last."""
    last = seeds(template)[-1:]
    configs = [_with(template, overrides) for overrides in jobs(template) if set(last) <= set(overrides)]
    return [(config, build_stages(config)[0]) for config in configs]


def _with(template: str, overrides: list[str]) -> Any:
    """The same as `composed`, three times as fast where jobs differ in values: options are chosen once."""
    words = OverridesParser.create().parse_overrides(overrides)
    config = copy.deepcopy(_chosen(template, *(word.input_line for word in words if _chooses(word.key_or_group))))
    for word in words:
        if not _chooses(word.key_or_group):
            OmegaConf.update(config, word.key_or_group, word.value())
    return config


_chosen = functools.cache(composed)


def _chooses(key: str) -> bool:
    return (config_folder() / key).is_dir()


def test_every_figure_has_its_template_and_its_quick_twin() -> None:
    assert set(TEMPLATES) >= FIGURES | {f"quick_{name}" for name in FIGURES} | {"tune_backbone", "quick_tune_backbone"}


@pytest.mark.parametrize("template", TEMPLATES)
def test_template_says_question_command_and_number_of_jobs_and_composes_to_it(template: str) -> None:
    question, command, count, *_ = (FOLDER / f"{template}.yaml").read_text(encoding="utf-8").splitlines()
    assert question.startswith("# ")
    assert "?" in question
    assert f"--config-dir multirun_templates --config-name {template}" in command
    expected = re.fullmatch(r"# (\d+) jobs?", count)
    assert expected, count
    assert sum(count for _, count in spaces(template)) == int(expected[1])


@pytest.mark.parametrize("template", TEMPLATES)
def test_every_value_of_a_template_builds_and_seeds_go_together(template: str) -> None:
    for space, _ in spaces(template):
        for values in space.probes():
            config = composed(template, *space.overrides(values))
            job, _, _ = build_stages(config)
            assert job.corruption.seed == job.seed == values.get("seed", config.seed)


@pytest.mark.parametrize("template", TEMPLATES)
def test_data_can_be_chosen_on_the_command_line(template: str) -> None:
    config = composed(template, "dataset=sports_attr", "dataset.root=/data")
    assert (config.dataset.name, config.dataset.root) == ("sports", "/data")


@pytest.mark.parametrize("template", [f"quick_{name}" for name in (*sorted(FIGURES), "tune_backbone")])
def test_quick_twin_is_small_and_asks_what_the_full_one_asks(template: str) -> None:
    quick, full = composed(template), composed(template.removeprefix("quick_"))
    assert quick.dataset.num_interactions < full.dataset.num_interactions
    assert quick.training.epochs < full.training.epochs
    assert quick.corruption.eta == full.corruption.eta
    axes = [{axis.key for space, _ in spaces(name) for axis in space.axes} for name in (template, template[6:])]
    assert axes[0] == axes[1]
    assert sum(count for _, count in spaces(template)) < sum(count for _, count in spaces(template[6:]))


@pytest.mark.parametrize("template", CONTROLS)
def test_controls_say_how_many_jobs_differ_and_draw_damage_anew_for_every_seed(template: str) -> None:
    assert all(job.corruption.seed == job.seed for _, job in built(template))
    distinct = {json.dumps(describe(job)) for _, job in built(template)}
    text = (FOLDER / f"{template}.yaml").read_text(encoding="utf-8")
    assert f"# {len(distinct) * len(seeds(template))} of them differ" in text


@pytest.mark.parametrize("template", CONTROLS)
def test_line_of_the_controls_is_the_same_study_without_content(template: str) -> None:
    line, sweep = composed(f"{template}_lightgcn"), composed(template, "backbone=lightgcn", *jobs(template)[0])
    assert line.backbone._target_.endswith("LightGCN")
    assert seeds(f"{template}_lightgcn") == seeds(template)
    for group in ("dataset", "prior", "backbone", "training", "evaluation", "rectifier", "edit"):
        assert line[group] == sweep[group], group
