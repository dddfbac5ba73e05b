"""A data set in memory as a folder that every command reads."""

from pathlib import Path

import numpy as np

from trustmm import __version__
from trustmm.dataset.data import Dataset
from trustmm.dataset.layout import SPLITS, feature_file, write_inter
from trustmm.dataset.new_folder import new_folder
from trustmm.dataset.provenance import write_provenance


def write_dataset(data: Dataset, folder: Path) -> None:
    """Write interactions, features and ``dataset.json``; `folder` must not exist and appears whole.

    Raises: ValueError if it exists.
    """
    splits = (data.train, data.valid, data.test)
    users, items = (np.concatenate([getattr(split, side) for split in splits]) for side in ("users", "items"))
    labels = np.repeat(np.arange(len(SPLITS)), [len(split) for split in splits])
    with new_folder(folder, "the data set") as workshop:
        write_inter(workshop.folder / f"{data.name}.inter", users, items, labels)
        features = {}
        for name, rows in data.features.items():
            features[name] = {"file": feature_file(name), "shape": list(rows.shape)}
            np.save(workshop.folder / feature_file(name), rows)
        facts = {"name": data.name, "made_by": f"trustmm {__version__}, arrays in memory", "features": features}
        write_provenance(workshop.folder, facts)
