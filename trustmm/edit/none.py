"""No edit: training edges as observed."""

from typing import Any

from trustmm.dataset.data import TrainData


class NoEdit:
    """The identity. Options of the other edits are accepted and ignored, so that sweeps compose.

    Args:
        options: any.
    """

    def __init__(self, **options: Any) -> None:
        pass

    def identity(self) -> dict[str, Any]:
        """Nothing determines the result."""
        return {}

    def __call__(self, train: TrainData, prior: Any) -> TrainData:
        """The data as they are; the prior is not asked for."""
        return train
