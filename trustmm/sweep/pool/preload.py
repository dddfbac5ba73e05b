"""What the fork server imports and warms up, once for all jobs. Importing it computes; nothing else should import it.

No CUDA, no connection, no thread is started here: a forked process would not have them.
"""

import importlib
import pickle
import pkgutil
import sys
from types import TracebackType

from trustmm.store.identity import DIAGNOSTICS, remember_code

STAGES = ("dataset", "corruption", "prior", "rectifier", "edit", "backbone", "training", "evaluation")
MODULES = (
    "torch._inductor",  # torch imports it when deterministic kernels are asked for: 2 s of every job
    "trustmm.run.reuse",
    "trustmm.job",
    "trustmm.run.progress",
    "trustmm.store.job_folder",
    "trustmm.sweep.pool.pool",
    "trustmm.tracking.mlflow",
)


def stage_modules() -> list[str]:
    """Modules of all stages; a configuration chooses among their classes."""
    packages = [importlib.import_module(f"trustmm.{name}") for name in STAGES]
    return [
        found.name for package in packages for found in pkgutil.iter_modules(package.__path__, package.__name__ + ".")
    ]


def say_errors(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print an error, but for a worker whose controller was killed before it had said what to do: nobody waits."""
    if not issubclass(kind, EOFError | pickle.UnpicklingError | ConnectionError):
        sys.__excepthook__(kind, error, trace)


sys.excepthook = say_errors
for _name in (*MODULES, *stage_modules()):
    importlib.import_module(_name)
remember_code("trustmm.job", *stage_modules(), *DIAGNOSTICS.values())
