"""What the fork server imports and warms up, once for all jobs. Importing it computes; nothing else should import it.

No CUDA, no connection, no thread is started here: a forked process would not have them.
"""

import importlib
import pkgutil

from trustmm.store.identity import code_digest

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


for _name in (*MODULES, *stage_modules()):
    importlib.import_module(_name)
code_digest("trustmm.job", *stage_modules())
