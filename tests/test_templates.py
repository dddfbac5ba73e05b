"""Every template starts with its question, its command and its number of jobs, and composes to that number."""

import random
import re
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins

from trustmm.app import build_stages
from trustmm.config import config_folder, register

FOLDER = Path(__file__).resolve().parent.parent / "multirun_templates"
SEARCH = f"hydra.searchpath=[file://{config_folder()}]"
TEMPLATES = sorted(path.stem for path in FOLDER.glob("*.yaml"))


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
    """Of a long template a sample."""
    found = jobs(template)
    for overrides in random.Random(0).sample(found, min(len(found), 9)):
        with initialize_config_dir(version_base="1.3", config_dir=str(FOLDER)):
            config = compose(template, overrides=[SEARCH, "tracking=none", *overrides])
        job, _, _ = build_stages(config)
        assert job.seed in range(5)
