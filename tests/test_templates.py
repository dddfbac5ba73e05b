"""Every template starts with its question, its command and its number of jobs, and composes to that number."""

import re
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.plugins import Plugins

from trustmm.app import build_stages
from trustmm.config import config_folder, register
from trustmm.sweep.options import StudyOptions
from trustmm.sweep.space import Space, parse_space
from trustmm.sweep.studies import variants
from trustmm.sweep.study import Objectives, check_options

FOLDER = Path(__file__).resolve().parent.parent / "multirun_templates"
SEARCH = f"hydra.searchpath=[file://{config_folder()}]"
TEMPLATES = sorted(path.stem for path in FOLDER.glob("*.yaml"))
FIGURES = {"table2_clean", "fig2_modality_robustness", "fig3_lambda_tau", "fig3_optuna", "fig5_ablation"}


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
        return [(space, len(space.cells()))]
    options = StudyOptions(**{key: value for key, value in sweeper.items() if key != "_target_"})
    for variant in (found := variants(options, [], FOLDER)):
        check_options(options, variant.space, Objectives.of(options))
    assert options.n_trials is not None
    return [(variant.space, options.n_trials) for variant in found]


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
    assert sum(jobs for _, jobs in spaces(template)) == int(expected[1])


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


@pytest.mark.parametrize("template", [name for name in TEMPLATES if name.startswith("quick_")])
def test_quick_twin_is_small_and_asks_what_the_full_one_asks(template: str) -> None:
    quick, full = composed(template), composed(template.removeprefix("quick_"))
    assert quick.dataset.num_interactions < full.dataset.num_interactions
    assert quick.training.epochs < full.training.epochs
    assert quick.corruption.eta == full.corruption.eta
    axes = [{axis.key for space, _ in spaces(name) for axis in space.axes} for name in (template, template[6:])]
    assert axes[0] == axes[1]
    assert sum(jobs for _, jobs in spaces(template)) < sum(jobs for _, jobs in spaces(template[6:]))
