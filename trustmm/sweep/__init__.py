"""Many jobs: who runs them, what became of each, and which one comes next.

The room bears the name of a function of the Python API, so it can be called: `trustmm.sweep(...)`.
"""

import importlib
import sys
from types import ModuleType
from typing import Any


class _Room(ModuleType):
    def __call__(self, *overrides: str, **options: Any) -> Any:
        """See `trustmm.api.sweep`."""
        return importlib.import_module("trustmm.api").sweep(*overrides, **options)


sys.modules[__name__].__class__ = _Room
