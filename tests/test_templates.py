"""Every template starts with its question, its command and its number of jobs, and composes to that number."""

import functools
import json
import random
import re
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from omegaconf import DictConfig

from trustmm.app import build_stages
from trustmm.config import config_folder, register
from trustmm.identity import describe
from trustmm.job import Job

FOLDER = Path(__file__).resolve().parent.parent / "multirun_templates"
SEARCH = f"hydra.searchpath=[file://{config_folder()}]"
TEMPLATES = sorted(path.stem for path in FOLDER.glob("*.yaml"))
CONTROLS = [template for template in TEMPLATES if template.endswith("controls")]


def jobs(template: str) -> list[list[str]]:
    """The overrides of every job of a template."""
    register()
    Plugins.instance()
    with initialize_config_dir(version_base="1.3", config_dir=str(FOLDER)):
        found = compose(template, overrides=[SEARCH], return_hydra_config=True)
    params = [f"{key}={value}" for key, value in found.hydra.sweeper.params.items()]
    overrides = OverridesParser.create().parse_overrides(params)
    (batch,) = BasicSweeper.split_arguments(overrides, None)
    return batch


def composed(template: str, *overrides: str) -> DictConfig:
    with initialize_config_dir(version_base="1.3", config_dir=str(FOLDER)):
        return compose(template, overrides=[SEARCH, "tracking=none", *overrides])


def seeds(template: str) -> list[str]:
    """Different seeds of a template's jobs, as overrides, in their order; none if the seed is not swept."""
    return list(dict.fromkeys(word for overrides in jobs(template) for word in overrides if word.startswith("seed=")))


@functools.cache
def built(template: str) -> list[tuple[DictConfig, Job]]:
    """Configuration and stages of every job of a template; of jobs that differ by their seed, of the last.

    Of a long template other than the controls, whose differences are counted, a sample.
    """
    last = seeds(template)[-1:]
    wanted = [overrides for overrides in jobs(template) if set(last) <= set(overrides)]
    if template not in CONTROLS:
        wanted = random.Random(0).sample(wanted, min(len(wanted), 12))
    configs = [composed(template, *overrides) for overrides in wanted]
    return [(config, build_stages(config)[0]) for config in configs]


def test_there_are_templates() -> None:
    assert TEMPLATES


@pytest.mark.parametrize("template", TEMPLATES)
def test_template_says_question_command_and_number_of_jobs_and_composes_to_it(template: str) -> None:
    question, command, count, *_ = (FOLDER / f"{template}.yaml").read_text(encoding="utf-8").splitlines()
    assert question.startswith("# ")
    assert "?" in question
    assert f"--config-dir multirun_templates --config-name {template}" in command
    expected = re.fullmatch(r"# (\d+) jobs?", count)
    assert expected, count
    assert len(jobs(template)) == int(expected[1])


@pytest.mark.parametrize("template", TEMPLATES)
def test_every_job_of_a_template_builds(template: str) -> None:
    for config, job in built(template):
        assert job.seed == config.seed


@pytest.mark.parametrize("template", CONTROLS)
def test_controls_say_how_many_jobs_differ_and_draw_damage_anew_for_every_seed(template: str) -> None:
    assert all(job.corruption.seed == job.seed for _, job in built(template))
    distinct = {json.dumps(describe(job)) for _, job in built(template)}
    text = (FOLDER / f"{template}.yaml").read_text(encoding="utf-8")
    assert f"# {len(distinct) * len(seeds(template))} of them differ" in text


@pytest.mark.parametrize("template", CONTROLS)
def test_second_command_of_the_controls_is_the_same_study_without_content(template: str) -> None:
    text = (FOLDER / f"{template}.yaml").read_text(encoding="utf-8")
    command = re.search(r"second command, (\d+) jobs:\n# python -m trustmm -m (.*)\n", text)
    assert command
    words = command[2].split()
    (batch,) = BasicSweeper.split_arguments(OverridesParser.create().parse_overrides(words), None)
    assert len(batch) == int(command[1]) == len(seeds(template))
    own_data = [word for word in words if word.startswith("dataset")]
    sweep = composed(template, "backbone=lightgcn", *own_data, *jobs(template)[0])
    with initialize_config_dir(version_base="1.3", config_dir=str(config_folder())):
        line = compose("config", overrides=batch[0])
    assert line.backbone._target_.endswith("LightGCN")
    for group in ("dataset", "prior", "backbone", "training", "evaluation", "rectifier", "edit"):
        assert line[group] == sweep[group], group
