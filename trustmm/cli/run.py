"""The command line: one job from configuration to a line on standard output; a sweep goes from here to its launcher."""

import os
import sys
from collections.abc import Callable

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from trustmm.options.config import config_folder, register
from trustmm.options.explain import explain
from trustmm.process.signals import Terminated, termination_as_exception
from trustmm.run.cell import build_cell, build_stages
from trustmm.run.reuse import run_or_reuse
from trustmm.sweep.launch import JobsFailed

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
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # errors reach the lines below instead of being printed by Hydra
    command = hydra.main(version_base="1.3", config_path=str(config_folder()), config_name=config_name)(do)
    try:
        with termination_as_exception():
            command()
    except (HydraException, OmegaConfBaseException) as error:
        _exit(explain(error, sys.argv[1:]))
    except (ValueError, ArithmeticError, JobsFailed) as error:
        _exit(str(error))
    except KeyboardInterrupt:
        _exit("interrupted", status=130)
    except Terminated:
        _exit("terminated", status=143)


def run(config: DictConfig) -> None:
    """One job in this process; also what launchers other than this package's call, without a parent run.

    Args:
        config: composed by Hydra.

    Raises: ValueError for the user's mistakes, a tracking store that cannot be used included.
    """
    from trustmm.tracking.mlflow import TrackingError

    cell = build_cell(config, HydraConfig.get().runtime.choices)
    data = cell.read_data()
    try:
        cell.tracking.initialise()
    except TrackingError as error:
        raise ValueError(str(error)) from error
    say(run_or_reuse(cell, data).stored.line)


def say(line: str) -> None:
    """One line on standard output, at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _exit(message: str, status: int = 1) -> None:
    sys.stderr.write(f"trustmm: {message}\n")
    raise SystemExit(status)
