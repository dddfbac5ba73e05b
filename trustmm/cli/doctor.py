"""``python -m trustmm doctor``: what this machine has, what is missing, and what to do about it."""

import importlib.metadata
import os
import platform
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from trustmm import __version__
from trustmm.options.compose import compose_job
from trustmm.store.plugins import conf_folders, packages
from trustmm.sweep.pool.placement import usable_cpus

LIBRARIES = ("torch", "numpy", "hydra-core", "optuna", "mlflow", "pandas", "pyarrow", "scipy")
LEAST_FREE = 2.0
"""GB of disk below which a study may fill it."""


class Finding(NamedTuple):
    """One line."""

    name: str
    text: str
    advice: str = ""
    """What to do; empty where all is well."""


def main() -> None:
    """Print all findings; exit status 1 if one needs something to be done."""
    found = list(findings(Path.cwd()))
    for finding in found:
        sys.stdout.write(f"{'!' if finding.advice else ' '} {finding.name:9} {finding.text}\n")
        if finding.advice:
            sys.stdout.write(f"{'':12}{finding.advice}\n")
    raise SystemExit(any(finding.advice for finding in found))


def findings(folder: Path) -> Iterator[Finding]:
    """What was looked at.

    Args:
        folder: where jobs would be started.
    """
    yield Finding("trustmm", f"{__version__}, Python {platform.python_version()} on {platform.platform()}")
    yield libraries()
    yield processors()
    yield from arithmetic()
    free = shutil.disk_usage(folder).free / 1e9
    yield Finding("disk", f"{free:.1f} GB free in {folder}", "" if free > LEAST_FREE else "free some space first")
    yield tracking()
    yield plugins()


def libraries() -> Finding:
    """Versions of what numbers and results depend on."""
    versions, missing = [], []
    for name in LIBRARIES:
        try:
            versions.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
    return Finding("libraries", ", ".join(versions), f"pip install {' '.join(missing)}" if missing else "")


def processors() -> Finding:
    """Cores that this process may use, and the threads that a job would."""
    cores, asked = usable_cpus(), os.environ.get("OMP_NUM_THREADS", "")
    many = asked.isdigit() and int(asked) > cores
    advice = f"set OMP_NUM_THREADS to at most {cores}: more threads than cores make a job many times slower"
    return Finding("CPU", f"{cores} cores, OMP_NUM_THREADS={asked or 'not set'}", advice if many else "")


def arithmetic() -> Iterator[Finding]:
    """Which library multiplies matrices, and the GPUs."""
    import torch

    backend = "MKL" if torch.backends.mkl.is_available() else "OpenBLAS or another"
    level = torch.backends.cpu.get_cpu_capability()
    yield Finding("BLAS", f"{backend}, {level}, {torch.get_num_threads()} threads")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    names = [torch.cuda.get_device_name(place) for place in range(count)]
    built = torch.version.cuda is not None
    hidden = built and not count and Path("/dev/nvidiactl").exists()
    advice = "torch cannot use the GPU of this machine: compare the driver (nvidia-smi) with torch.version.cuda"
    yield Finding("GPU", ", ".join(names) or "none; jobs run on the CPU", advice if hidden else "")


def tracking() -> Finding:
    """Whether a job that is started here could be tracked."""
    config, _ = compose_job(["tracking=mlflow"])
    from trustmm.tracking.database import database_file
    from trustmm.tracking.mlflow import MLflowTracking, TrackingError
    from trustmm.tracking.mlflow_run import public

    uri = str(config.tracking.uri)
    file = database_file(uri)
    if file is not None and not file.exists():
        return Finding("tracking", f"{public(uri)} does not exist yet; the first job creates it")
    try:
        MLflowTracking(uri=uri, experiment=str(config.tracking.experiment)).initialise()
    except (TrackingError, ValueError) as error:
        return Finding("tracking", str(error), "start the store, or run with tracking=none")
    return Finding("tracking", f"{public(uri)} can be used")


def plugins() -> Finding:
    """Packages of other people's methods."""
    try:
        conf_folders()
    except ValueError as error:
        return Finding("plugins", str(error), "install it, or correct TRUSTMM_PLUGINS")
    return Finding("plugins", ", ".join(packages()) or "none")
