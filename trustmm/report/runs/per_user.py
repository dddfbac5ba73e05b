"""Per-user test values of finished jobs."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trustmm.report.runs.cells import Pair
from trustmm.store.cache import UNUSABLE


def differences(pair: Pair, folders: Mapping[str, Path], metric: str, mask: str) -> NDArray[np.float32] | None:
    """Paired differences by seed and user, (S, U).

    Args:
        pair: the jobs of every seed.
        folders: by job.
        metric: such as "recall@10".
        mask: of the headline, such as "clean".

    Returns: None where a job's file is missing or cannot be read, or the jobs were evaluated on different users.
    """
    rows, known = [], None
    for treated, base in pair.jobs.values():
        left, right = (_read(folders[job] / "per_user.npz", f"{mask}/{metric}") for job in (treated, base))
        if left is None or right is None or not np.array_equal(left[0], right[0]):
            return None
        if known is not None and not np.array_equal(known, left[0]):
            return None
        known = left[0]
        rows.append(left[1] - right[1])
    return np.stack(rows) if rows else None


def _read(path: Path, name: str) -> tuple[NDArray[Any], NDArray[np.float32]] | None:
    try:
        with path.open("rb") as handle, np.load(handle, allow_pickle=False) as arrays:
            return arrays["users"], arrays[name]
    except (OSError, *UNUSABLE):
        return None
