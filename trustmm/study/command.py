"""The studies of one command: usually one; with ``each``, one per option, all with the same budget."""

import logging
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.config_loader import ConfigLoader
from omegaconf import DictConfig

from trustmm.study.options import StudyOptions
from trustmm.study.question import open_study
from trustmm.study.search import run_study
from trustmm.study.space import Space, parse_space
from trustmm.study.storage import close_storage
from trustmm.study.summary import Report, best_lines, describe_study, make_report, write_report
from trustmm.study.trials import num_left

if TYPE_CHECKING:
    from trustmm.sweep.launch import SweepLauncher
    from trustmm.tracking.mlflow import Status

log = logging.getLogger(__name__)
Choices = Callable[[Sequence[str]], Mapping[str, str]]
"""From the overrides of a job to the option chosen in each group."""
Draw = Callable[[Report], None]


@dataclass(frozen=True)
class Variant:
    """One of the studies of a command."""

    label: str
    """Such as ``rectifier=mr``; empty where there is one study only."""
    space: Space
    options: StudyOptions
    folder: Path


def run_studies(
    options: StudyOptions,
    arguments: Sequence[str],
    config: DictConfig,
    launcher: Any,
    config_loader: ConfigLoader,
    draw: Draw,
) -> list[Report]:
    """Run all studies of a command one after the other, report on each, and print the best trials.

    Args:
        options: of ``hydra.sweeper``.
        arguments: overrides of the command line.
        config: of the sweep, Hydra's node included.
        launcher: one of this package, because a study submits one job at a time.
        config_loader: Hydra's.
        draw: writes the figures of a study into its folder.

    Raises: ValueError for impossible options; `trustmm.study.question.StudyError` if too many trials failed.
    """
    from trustmm.sweep.launch import SweepLauncher

    if not isinstance(launcher, SweepLauncher):
        raise ValueError(
            "hydra/sweeper=trustmm_optuna reports each trial as it ends, which needs hydra/launcher=trustmm_pool or "
            f"hydra/launcher=trustmm_slurm, got {type(launcher).__name__}"
        )

    def choices(overrides: Sequence[str]) -> Mapping[str, str]:
        return dict(config_loader.load_sweep_config(config, list(overrides)).hydra.runtime.choices)

    command = single_job_command(config)
    reports: list[Report] = []
    notes: list[str] = []
    status: Status = "KILLED"
    try:
        for variant in variants(options, arguments, Path(config.hydra.sweep.dir), config_loader):
            if variant.label:
                log.info("study of %s", variant.label)
            reports.append(run_variant(variant, launcher, command, choices, draw, notes))
        status = "FINISHED"
    except Exception:
        status = "FAILED"
        raise
    finally:
        launcher.sweep.finish(status, "\n\n".join(notes))
    for report in reports:
        sys.stdout.writelines(f"{line}\n" for line in best_lines(report, command))
    return reports


def variants(
    options: StudyOptions, arguments: Sequence[str], folder: Path, config_loader: ConfigLoader | None = None
) -> list[Variant]:
    """The studies that the options and the command line ask for; the command line may narrow ``each``."""
    repeated = {key for key in options.each}
    for_each = [argument for argument in arguments if _key(argument) in repeated]
    rest = [argument for argument in arguments if _key(argument) not in repeated]
    space = parse_space(options.params, rest, config_loader)
    folder = folder / options.study_name if options.study_name else folder
    axes = parse_space(options.each, for_each, config_loader)
    if not repeated:
        return [Variant("", space, options, folder)]
    found = []
    for cell in axes.cells():
        words = axes.overrides(cell)
        label = re.sub(r"[^\w.,=+-]", "_", ",".join(words))  # a folder's name
        name = f"{folder.name}-{label}"
        fixed = replace(space, fixed=(*space.fixed, *words))
        found.append(Variant(label, fixed, replace(options, study_name=name), folder / label))
    return found


def run_variant(
    variant: Variant,
    launcher: "SweepLauncher",
    command: Sequence[str],
    choices: Choices,
    draw: Draw,
    notes: list[str],
) -> Report:
    """Run one study; whatever ends it, its table and figures are written, and its Markdown is added to the notes."""
    options, space, folder = variant.options, variant.space, variant.folder
    study = open_study(options, space, folder)
    try:
        run_study(study, options, space, folder, launcher.sweep, launcher.executor)
    except ValueError:  # refused: what the folder says of earlier sessions stays
        close_storage(study)
        raise
    except BaseException:
        _tell(study, variant, command, choices, draw, notes)
        raise
    return _tell(study, variant, command, choices, draw, notes)


def _tell(
    study: Any, variant: Variant, command: Sequence[str], choices: Choices, draw: Draw, notes: list[str]
) -> Report:
    """Table and figures of a study that was worked on, in its folder and in the notes; closes it."""
    options, space, folder = variant.options, variant.space, variant.folder
    try:
        report = make_report(study, options, space, folder, complete=num_left(study, options, space) == 0)
    finally:
        close_storage(study)
    try:
        write_report(report, command, choices, draw)
    except OSError as error:
        log.warning("table and figures of the study could not be written: %s", error)
    notes.append(describe_study(report, command))
    log.info("table and figures: %s", folder)
    return report


def single_job_command(config: DictConfig) -> list[str]:
    """How one job of this sweep is run by hand: the command line without what a trial adds."""
    command = ["python", "-m", "trustmm"]
    for source in config.hydra.runtime.config_sources:
        if source.provider == "command-line":
            command += ["--config-dir", _shown(source.path)]
    if config.hydra.job.config_name != "config":
        command += ["--config-name", config.hydra.job.config_name]
    return command


def _shown(path: str) -> str:
    here = Path.cwd()
    return str(Path(path).relative_to(here)) if Path(path).is_relative_to(here) else path


def _key(argument: str) -> str:
    return argument.partition("=")[0].lstrip("+~")
