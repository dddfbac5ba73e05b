"""The layout of a data set folder: its names, and how its tables are written."""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trustmm.dataset.access import named
from trustmm.graph.edges import IntArray

PLAIN_NAME = re.compile(r"\w[\w .+-]*")
SPLITS = ("train", "valid", "test")
USERS, ITEMS = "users.tsv", "items.tsv"
PUBLISHED = {"visual": "image_feat.npy", "textual": "text_feat.npy", "attribute": "attr_feat.npy"}
"""Modality to the file name that published folders use."""


def is_plain(name: object) -> bool:
    """Whether a name of a folder or file leads nowhere else."""
    return isinstance(name, str) and PLAIN_NAME.fullmatch(name) is not None and ".." not in name


def is_modality(name: object) -> bool:
    """Whether a modality may have this name."""
    return isinstance(name, str) and name.isidentifier()


def feature_file(modality: str) -> str:
    """File of a modality: the published name where there is one, else ``MODALITY_feat.npy``."""
    return PUBLISHED.get(modality, f"{modality}_feat.npy")


def modality_of(file: str) -> str:
    """The modality of a feature file, the inverse of `feature_file`."""
    names = {name: modality for modality, name in PUBLISHED.items()}
    return names.get(file, file.removesuffix(".npy").removesuffix("_feat"))


def write_inter(
    path: Path, users: IntArray, items: IntArray, labels: IntArray, times: NDArray[np.float64] | None = None
) -> None:
    """Write a .inter file: tab-separated userID, itemID, timestamp where given, x_label.

    Args:
        path: the file.
        users: user ids, (E,).
        items: item ids, (E,).
        labels: 0 train, 1 valid, 2 test, (E,).
        times: seconds, NaN where unknown, (E,).
    """
    columns = {"userID": users.tolist(), "itemID": items.tolist()}
    if times is not None:
        columns["timestamp"] = ["" if np.isnan(time) else f"{time:.15g}" for time in times.tolist()]
    columns["x_label"] = labels.tolist()
    with path.open("w", encoding="utf-8", newline="\n") as handle:
        handle.write("\t".join(columns) + "\n")
        handle.writelines("\t".join(map(str, row)) + "\n" for row in zip(*columns.values(), strict=True))


def write_names(path: Path, kind: str, names: Sequence[str]) -> None:
    """Write a map of dense ids, ``users.tsv`` or ``items.tsv``: the id and the name in the sources, in order of ids."""
    with path.open("w", encoding="utf-8", newline="\n") as handle:
        handle.write(f"{kind}ID\t{kind}\n")
        handle.writelines(f"{number}\t{name}\n" for number, name in enumerate(names))


def read_names(path: Path, count: int) -> list[str]:
    """Names by id, from a file as `write_names` makes it; more columns are ignored.

    Raises: ValueError unless there are `count` lines numbered 0, 1, 2, ...
    """
    with named("names of users or items", path):
        content = path.read_bytes()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: found text that is not UTF-8 ({error.reason} at byte {error.start})") from error
    # Names may hold line separators other than \n, at which splitlines would cut.
    lines = [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")][1:]
    rows = [line.split("\t") for line in lines]
    for number, row in enumerate(rows):
        if len(row) < 2 or row[0] != str(number):
            raise ValueError(
                f"{path}, line {number + 2}: found {lines[number][:80]!r}, expected id {number} and a name"
            )
    if len(rows) != count:
        raise ValueError(f"{path}: found {len(rows)} names, expected {count}")
    return [row[1] for row in rows]
