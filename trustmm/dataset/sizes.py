"""Sizes of a data set, as Table 1 of a paper gives them."""

from typing import Any

from trustmm.dataset.data import Dataset


def sizes(data: Dataset) -> dict[str, Any]:
    """Users, items, interactions in all and by split, and the width of every modality."""
    splits = {name: len(getattr(data, name)) for name in ("train", "valid", "test")}
    widths = {name: int(matrix.shape[1]) for name, matrix in data.features.items()}
    total = {"users": data.num_users, "items": data.num_items, "interactions": sum(splits.values())}
    return {**total, **splits, "widths": widths}
