"""No repair: features as observed."""

from typing import Any

from trustmm.dataset.data import TrainData
from trustmm.rectifier.base import Rectifier


class NoRectifier(Rectifier):
    """The identity. Options of the other rectifiers are accepted and ignored, so that sweeps compose.

    Args:
        options: any.
    """

    idle = True

    def __init__(self, **options: Any) -> None:
        pass

    def identity(self) -> dict[str, Any]:
        """Nothing determines the result."""
        return {}

    def __call__(self, train: TrainData, prior: Any, **context: Any) -> tuple[TrainData, dict[str, Any]]:
        """The data as they are; the prior is not asked for."""
        return train, {}
