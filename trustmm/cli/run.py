"""The command line: one job from configuration to a line on standard output; a sweep goes from here to its launcher."""

import logging
import os
import sys
from collections.abc import Callable

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from trustmm.cli.ending import leave, one_sentence
from trustmm.cli.pages import job_page
from trustmm.cli.words import enter
from trustmm.options.config import config_folder, register
from trustmm.options.explain import explain, of_hydra
from trustmm.process.signals import termination_as_exception
from trustmm.run.cell import LABELS, build_cell, build_stages
from trustmm.run.reuse import run_or_reuse
from trustmm.sweep.launch import JobsFailed
from trustmm.tracking.redact import resolve_secrets

log = logging.getLogger(__name__)
__all__ = ["build_stages", "main", "run", "run_command"]


def main() -> None:
    """Run `python -m trustmm`."""
    run_command(run, "config")


def run_command(do: Callable[[DictConfig], None], config_name: str) -> None:
    """Compose the command line's configuration and do what it says.

    Exit status 1 on the user's mistakes, with one message and no traceback.

    Args:
        do: what is done with the configuration.
        config_name: YAML file in ``conf/`` that the configuration starts from.
    """
    register()
    resolve_secrets()
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # errors reach the lines below instead of being printed by Hydra
    with one_sentence():
        try:
            with termination_as_exception():
                enter()
                _compose_and(do, config_name)
        except (HydraException, OmegaConfBaseException) as error:  # some of Hydra's are OSErrors, too
            leave(explain(error, sys.argv[1:]))
        except (ValueError, ArithmeticError, JobsFailed) as error:
            leave(explain(error, sys.argv[1:]) if "Config group override" in str(error) else str(error))
        except (TypeError, AttributeError, LookupError, RuntimeError, AssertionError) as error:
            if said := of_hydra(error, sys.argv[1:]):
                leave(said)
            raise


def _compose_and(do: Callable[[DictConfig], None], config_name: str) -> None:
    """Hydra's `main`; an error of `do` passes it by, or Hydra would print the overrides before it."""
    errors: list[Exception] = []

    def task(config: DictConfig) -> None:
        try:
            do(config)
        except Exception as error:  # noqa: BLE001 - raised again below
            errors.append(error)

    hydra.main(version_base="1.3", config_path=str(config_folder()), config_name=config_name)(task)()
    if errors:
        raise errors[0]


def run(config: DictConfig) -> None:
    """One job in this process; also what launchers other than this package's call, without a parent run.

    Args:
        config: composed by Hydra.

    Raises: ValueError for the user's mistakes, a tracking store that cannot be used included.
    """
    choices = HydraConfig.get().runtime.choices
    named = " ".join(f"{group}={choices[group]}" for group in LABELS)
    log.info("%s seed=%s: checking options and data", named, config.seed)  # before the first library that loads slowly
    from trustmm.tracking.mlflow import TrackingError

    cell = build_cell(config, choices)
    data = cell.read_data()
    try:
        cell.tracking.initialise()
    except TrackingError as error:
        raise ValueError(str(error)) from error
    say(run_or_reuse(cell, data, job_page).stored.line)


def say(line: str) -> None:
    """One line on standard output, at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
