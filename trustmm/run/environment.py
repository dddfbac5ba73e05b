"""The machine and the versions behind a number: what can move its last digit, and where it was made."""

import importlib.metadata
import platform
import socket
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trustmm import __version__

if TYPE_CHECKING:
    import torch


def environment(device: "torch.device") -> dict[str, str]:
    """Of this process as flat text, recorded with every result, checkpoint and cache entry.

    Args:
        device: where the job computes.
    """
    import numpy as np
    import torch

    return {
        "trustmm": __version__,
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "numpy": np.__version__,
        "torch_scatter": _version("torch-scatter"),
        "cpu": cpu_model(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "numpy_simd": _numpy_simd(),
        "blas": _libraries("blas"),
        "torch_blas": "mkl" if torch.backends.mkl.is_available() else "other",
        "threads": str(torch.get_num_threads()),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "host": socket.gethostname(),
    }


@cache
def cpu_model(path: Path = Path("/proc/cpuinfo")) -> str:
    """The processor's name and its family, model and stepping, since many virtual machines share a name."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").partition("\n\n")[0].splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    facts = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    numbers = [facts[name] for name in ("cpu family", "model", "stepping") if name in facts]
    named = facts.get("model name") or platform.processor() or platform.machine()
    return f"{named} ({'/'.join(numbers)})" if numbers else named


def _libraries(kind: str) -> str:
    """Each loaded library of this kind with version, kernel architecture and threads."""
    from threadpoolctl import threadpool_info

    found = [library for library in threadpool_info() if library["user_api"] == kind]
    found = [library for library in found if "numpy" in library["filepath"]] or found  # scipy may bring its own, later
    return ", ".join(sorted({_library(library) for library in found})) or "none"


def _library(library: Mapping[str, Any]) -> str:
    words = [library["internal_api"], library.get("version"), library.get("architecture")]
    threads = library["num_threads"]
    return " ".join(str(word) for word in [*words, f"{threads} thread{'s' * (threads > 1)}"] if word)


def _numpy_simd() -> str:
    """The highest of the instruction sets that numpy's own loops use here."""
    try:
        from numpy._core._multiarray_umath import __cpu_baseline__, __cpu_dispatch__, __cpu_features__
    except ImportError:  # a private name, and it may go
        return "unknown"
    used = [name for name in (*__cpu_baseline__, *__cpu_dispatch__) if __cpu_features__.get(name)]
    return used[-1] if used else "none"


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "absent"
