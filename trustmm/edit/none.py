"""No edit: training edges as observed."""

from typing import Any

from trustmm.dataset.data import TrainData
from trustmm.edit.base import Edit
from trustmm.edit.proposal import Proposal, nothing


class NoEdit(Edit):
    """The identity. Options of the other edits are accepted and ignored, so that sweeps compose.

    Args:
        options: any.
    """

    idle = True

    def __init__(self, **options: Any) -> None:
        pass

    def identity(self) -> dict[str, Any]:
        """Nothing determines the result."""
        return {}

    def __call__(self, train: TrainData, prior: Any, **context: Any) -> Proposal:
        """Nothing to change; the prior is not asked for."""
        return nothing(train)
