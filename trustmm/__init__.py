"""trustmm: which multimodal recommender can you trust when images, texts or clicks are wrong?

The Python API is `trustmm.run`, `trustmm.sweep`, `trustmm.rectify`, `trustmm.load` and `trustmm.Dataset`. Each name is
loaded when it is first used; see docs/api.md.
"""

TYPE_CHECKING = False  # as a type checker wants it; nothing is imported here, where Ctrl-C cannot be caught yet
if TYPE_CHECKING:
    from typing import Any

__version__ = "0.2.0"
_API = ("Dataset", "Model", "Rectified", "Result", "Results", "load", "rectify", "run", "sweep")


def __getattr__(name: str) -> "Any":
    """The name from `trustmm.api`, so that importing the package loads neither torch nor Hydra."""
    import importlib

    if name in ("run", "sweep"):  # rooms of the package, too, which can be called
        return importlib.import_module(f"trustmm.{name}")
    if name in _API:
        return getattr(importlib.import_module("trustmm.api"), name)
    raise AttributeError(f"module 'trustmm' has no attribute {name!r}")


def __dir__() -> list[str]:
    """All names, including those of the API."""
    return sorted([*globals(), *_API])
