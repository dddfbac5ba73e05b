"""Reader of a data set folder: ROOT/NAME/NAME.inter and one .npy per modality, the published layout."""

# Shapes: E rows of the .inter file, U users, I items, D feature width. Row r of the table stands on line r + 2.

import os
import re
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trustmm.dataset.access import is_file, is_folder, named
from trustmm.dataset.data import Dataset
from trustmm.dataset.frames import Frames
from trustmm.dataset.layout import SPLITS, is_modality, is_plain
from trustmm.dataset.matrix import open_matrix
from trustmm.dataset.provenance import FILE, check_files, modalities, read_provenance
from trustmm.dataset.split import split_anew
from trustmm.graph.edges import Edges, IntArray
from trustmm.options.checks import Seed

COLUMNS = ("userID", "itemID", "x_label")
INTEGER = re.compile(r" *[+-]?[0-9]+ *")
IDS = "numbered 0, 1, 2, ..."
BLOCK = 4096
"""Rows that are copied at a time."""
LONGEST_HEADER = 2**16
"""Bytes of a .inter file that are looked at before the whole is read."""


@dataclass(frozen=True, kw_only=True)
class FolderDataset:
    """Reads ``ROOT/NAME/NAME.inter`` and the listed feature files; a call returns the `Dataset`.

    The .inter file is tab-separated UTF-8 with a header: userID, itemID and x_label (0 train, 1 valid, 2 test) in any
    order; other columns are ignored, but every row has as many as the header. U and I are the largest ids plus one.
    A feature file is a float matrix (I, D), rows are item ids, and becomes float32 in memory. Nothing is repaired. It
    may have a time axis, (I, T, D): then the item's feature is the mean of its frames, and these are kept beside it.

    Where the folder has a ``dataset.json`` (see `trustmm.dataset.provenance`), the files that are read must be the ones
    it describes. Such a folder needs no options: it can be `root` itself, and lists its own modalities.

    The dataset folder may be a link to another place; the files in it may not lead out of it.

    Raises: ValueError when built, for what the user typed; when called, for missing files and what files hold.
    """

    name: str | None
    """Folder below `root` and stem of the .inter file; None if `root` is a folder with a ``dataset.json``."""
    root: str | None
    """Folder of data sets; None or empty (TRUSTMM_DATA not set) is refused with a hint."""
    modalities: Mapping[str, str] | None
    """Modality to file name, such as ``{"visual": "image_feat.npy"}``; may be empty; None for what
    ``dataset.json`` lists, without one nothing."""
    categories: str | None = None
    """A .npy file of one whole number for each item, its category; None if there is none. Numbers may have gaps."""
    lengths: Mapping[str, str] = field(default_factory=dict)
    """Of modalities with a time axis: a .npy file of one whole number for each item, how many of the T frames it has,
    the first ones; a modality that is not named here has all T of each item."""
    split_seed: Seed | None = None
    """Deals the pairs out to train, validation and test anew, 8:1:1 within each user; None keeps the file's split."""

    def __post_init__(self) -> None:
        with named("dataset.root", str(self.root)):
            if self.name is None and not (self.root and is_file(self._root() / FILE)):
                raise ValueError(
                    f"dataset.name must be given: the folder below dataset.root; only a folder that trustmm wrote, "
                    f"with a {FILE} in it, can be dataset.root itself"
                )
        if self.name is not None and not is_plain(self.name):
            raise ValueError(f"dataset.name must be a plain folder name such as sports, got {self.name!r}")
        if not self.root:
            raise ValueError(
                f"dataset.root is not set: give the folder that holds {self.name}/{self.name}.inter, "
                "as dataset.root=/path/to/data or in the environment variable TRUSTMM_DATA"
            )
        if self.modalities is not None:
            _check_files("dataset.modalities", self.modalities)
        _check_files("dataset.lengths", self.lengths)
        if self.categories is not None and not (is_plain(self.categories) and self.categories.endswith(".npy")):
            raise ValueError(f"dataset.categories must be a .npy file name without path, got {self.categories!r}")

    def __call__(self) -> Dataset:
        """Read and check everything. Shapes: features (I, D), float32."""
        with named("dataset.root", str(self.root)):
            return self._read()

    def _read(self) -> Dataset:
        folder = self.folder()
        provenance = read_provenance(folder)
        name = self.name or (provenance or {})["name"]
        inter = _locate(folder, f"{name}.inter", "the interactions of dataset.name")
        listed = self.files(provenance)
        files = {m: _locate(folder, file, f"dataset.modalities.{m}") for m, file in listed.items()}
        if provenance is not None:
            check_files([inter, *files.values()], provenance)
        train, valid, test = read_splits(inter)
        if self.split_seed is not None:
            train, valid, test = split_anew((train, valid, test), self.split_seed)
        for modality in self.lengths:
            if modality not in files:
                known = sorted(files)
                raise ValueError(f"dataset.lengths.{modality}: dataset.modalities has no such modality, only {known}")
        features, frames = {}, {}
        for modality, file in files.items():
            key = f"dataset.modalities.{modality}"
            stored = _open_features(file, key, train.num_items)
            lengths = self._lengths(folder, modality, file, stored.shape)
            if lengths is None:
                features[modality] = _read_rows(file, key, stored, np.arange(len(stored)))
            else:
                present = np.flatnonzero(np.arange(stored.shape[1]) < lengths[:, None])
                rows = _read_rows(file, key, stored.reshape(-1, stored.shape[2]), present)
                frames[modality] = Frames(rows, np.concatenate([[0], np.cumsum(lengths)]))
                features[modality] = frames[modality].pooled()
        categories = None
        if self.categories is not None:
            path = _locate(folder, self.categories, "dataset.categories")
            numbers = _read_whole_numbers(path, "dataset.categories", train.num_items)
            categories = np.unique(numbers, return_inverse=True)[1].astype(np.int64)
        return Dataset(name, train, valid, test, features, provenance, categories, frames=frames)

    def _lengths(self, folder: Path, modality: str, file: Path, shape: tuple[int, ...]) -> IntArray | None:
        """Frames of each item, (I,); None without a time axis."""
        key, named = f"dataset.lengths.{modality}", self.lengths.get(modality)
        if len(shape) == 2:
            if named is not None:
                raise ValueError(f"{file} ({key}): found shape {shape}, expected a time axis (items, frames, columns)")
            return None
        if named is None:
            return np.full(shape[0], shape[1])
        path = _locate(folder, named, key)
        lengths = _read_whole_numbers(path, key, shape[0])
        wrong = np.flatnonzero((lengths < 0) | (lengths > shape[1]))
        if wrong.size:
            found = f"row {wrong[0]} is {lengths[wrong[0]]}"
            raise ValueError(f"{path} ({key}): {found}, expected 0 to {shape[1]} frames, as in {file.name}")
        return lengths

    def files(self, provenance: Mapping[str, object] | None) -> dict[str, str]:
        """Modality to file name: the option, or what the folder's ``dataset.json`` lists."""
        if self.modalities is not None:
            return dict(self.modalities)
        return modalities(provenance) if provenance is not None else {}

    def folder(self) -> Path:
        """The folder of the data set.

        Raises: ValueError if it is not there.
        """
        root = self._root()
        if self.name is None:
            return root
        folder = root / self.name
        if not is_folder(root):
            raise ValueError(f"dataset.root={root} is not a folder; expected the folder that holds {self.name}/")
        if not is_folder(folder):
            if is_file(root / f"{self.name}.inter"):
                raise ValueError(f"dataset.root={root} holds {self.name}.inter itself; expected the folder above")
            there = _listed(name for name in os.listdir(root) if os.path.isdir(root / name))
            raise ValueError(
                f"dataset.name={self.name}: {folder} does not exist; dataset.root holds the folders {there}"
            )
        return folder

    def _root(self) -> Path:
        return Path(os.path.expanduser(str(self.root)))


def read_splits(inter: Path) -> tuple[Edges, Edges, Edges]:
    """Train, validation and test pairs of a .inter file, over the same users and items.

    Raises: ValueError with file and line for anything but whole ids from 0, labels 0 to 2, each pair once and no split
    empty.
    """
    table = _read_inter(inter)
    num_users, num_items = (int(ids.max()) + 1 for ids in (table[:, 0], table[:, 1]))
    rows = (table[table[:, 2] == label] for label in range(len(SPLITS)))
    train, valid, test = (Edges.of(part[:, 0], part[:, 1], num_users, num_items) for part in rows)
    return train, valid, test


def _check_files(key: str, files: object) -> None:
    if not isinstance(files, Mapping):
        raise ValueError(f"{key} must map modalities to .npy files, got {files!r}")
    for modality, file in files.items():
        if not is_modality(modality):
            raise ValueError(f"{key}: a modality must be a name such as visual, got {modality!r}")
        if not (is_plain(file) and file.endswith(".npy")):
            raise ValueError(f"{key}.{modality} must be a .npy file name without path, got {file!r}")


def _listed(names: Iterable[str], limit: int = 20) -> str:
    ordered = sorted(names)
    return (", ".join(ordered[:limit]) + (", ..." if len(ordered) > limit else "")) or "(none)"


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}..."


def _locate(folder: Path, file: str, key: str) -> Path:
    path = folder / file
    inside, place = (Path(os.path.realpath(one)) for one in (folder, path))
    if not place.is_relative_to(inside):
        raise ValueError(f"{path} ({key}) leads to {place}; expected a file inside {inside}")
    with named(key, path):
        if not is_file(path):
            there = _listed(name for name in os.listdir(folder) if os.path.isfile(folder / name))
            raise ValueError(f"{path} ({key}) is missing; the folder has files {there}")
    return path


def _read_inter(path: Path) -> IntArray:
    """The checked columns userID, itemID, x_label, shape (E, 3)."""
    text = _decoded(_start(path))
    if not text.strip():
        raise ValueError(f"{path}: the file is empty, expected a header line with {', '.join(COLUMNS)}")
    columns = _find_columns(path, text.split("\n", 1)[0])  # before the whole of what may be no table is in memory
    with named("the interactions", path):
        lines = _decoded(path.read_bytes()).removesuffix("\n").split("\n")
    _check_widths(path, lines)
    table = _parse(path, lines, columns)
    _check_ids(path, table)
    _check_labels(path, table)
    _check_pairs(path, table)
    return table


def _start(path: Path) -> bytes:
    with named("the interactions", path), path.open("rb") as handle:
        return handle.read(LONGEST_HEADER)


def _decoded(content: bytes) -> str:
    """An ignored column may hold bytes that are not UTF-8; in the columns we read the replacement is no digit."""
    return content.decode("utf-8-sig", errors="replace").replace("\r\n", "\n")


def _find_columns(path: Path, header: str) -> list[int]:
    names = header.split("\t")
    for column in COLUMNS:
        if names.count(column) != 1:
            found = f"{column} {names.count(column)} times in {_short(names)}"
            raise ValueError(f"{path}, line 1: found {found}; expected {', '.join(COLUMNS)} once each, between tabs")
    return [names.index(column) for column in COLUMNS]


def _check_widths(path: Path, lines: list[str]) -> None:
    if len(lines) == 1:
        raise ValueError(f"{path}: found only the header on line 1, expected rows of user, item and label below it")
    tabs = lines[0].count("\t")
    wrong = next((index for index, line in enumerate(lines) if line.count("\t") != tabs), None)
    if wrong is not None:
        found = (
            f"{lines[wrong].count(chr(9)) + 1} columns in {_short(lines[wrong])}" if lines[wrong] else "an empty line"
        )
        raise ValueError(f"{path}, line {wrong + 1}: found {found}, expected {tabs + 1} columns as in the header")


def _parse(path: Path, lines: list[str], columns: list[int]) -> IntArray:
    rows = islice(lines, 1, None)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # NumPy before 2.4 reads 1.5 as 1 and only warns
            return np.loadtxt(rows, dtype=np.int64, delimiter="\t", comments=None, usecols=columns, ndmin=2)
    except (ValueError, DeprecationWarning) as error:
        raise ValueError(_explain(path, lines, columns) or f"{path}: {error}") from error


def _explain(path: Path, lines: list[str], columns: list[int]) -> str | None:
    """Which line keeps the table from being integers, or None; walks all lines, so for failures only."""
    for number, line in enumerate(lines[1:], start=2):
        fields = line.split("\t")
        for column, index in zip(COLUMNS, columns, strict=True):
            where, field = f"{path}, line {number}: {column}", fields[index]
            if not INTEGER.fullmatch(field):
                return f"{where} is {_short(field)}, expected a whole number"
            if len(field.strip().lstrip("+-0")) > 18:
                return f"{where} {_short(field)} has more than 18 digits, expected ids {IDS} and labels 0, 1, 2"
        if "\r" in line:
            return f"{path}, line {number}: found a carriage return inside the line, expected \\n or \\r\\n at its end"
    return None


def _check_ids(path: Path, table: IntArray) -> None:
    """Ids from 0 up, and not so sparse that a table of users or items would be mostly holes.

    A data set numbered 0, 1, 2, ... has fewer users and items than rows; 10 x rows + 1000 leaves room for gaps and for
    toys, stops a raw id (a timestamp, a hash) before it sizes an allocation, and keeps user * I + item within int64.
    """
    limit = 10 * len(table) + 1000
    for column, ids in zip(COLUMNS[:2], table.T, strict=False):
        low, high = int(ids.argmin()), int(ids.argmax())
        if ids[low] < 0:
            raise ValueError(f"{path}, line {low + 2}: {column} is {ids[low]}, expected ids {IDS}")
        if ids[high] >= limit:
            what = f"{column} {ids[high]} makes {int(ids[high]) + 1} {column[:4]}s, but the file has {len(table)} rows"
            raise ValueError(f"{path}, line {high + 2}: {what}; expected ids {IDS} below 10 x rows + 1000 = {limit}")


def _check_labels(path: Path, table: IntArray) -> None:
    labels = table[:, 2]
    wrong = np.flatnonzero((labels < 0) | (labels >= len(SPLITS)))
    if wrong.size:
        found = f"{path}, line {wrong[0] + 2}: x_label is {labels[wrong[0]]}"
        raise ValueError(f"{found}, expected 0 (train), 1 (valid) or 2 (test)")
    counts = dict(zip(SPLITS, np.bincount(labels, minlength=len(SPLITS)).tolist(), strict=True))
    for label, split in enumerate(SPLITS):
        if not counts[split]:
            found = ", ".join(f"{name} {count}" for name, count in counts.items())
            raise ValueError(
                f"{path}: no row has x_label {label} ({split}); found {found}, expected rows in each split"
            )


def _check_pairs(path: Path, table: IntArray) -> None:
    keys = table[:, 0] * (table[:, 1].max() + 1) + table[:, 1]
    order = np.argsort(keys, kind="stable")
    again = np.flatnonzero(keys[order[1:]] == keys[order[:-1]])
    if again.size:
        at = again[np.argmin(order[again + 1])]
        first, second = (int(row) for row in order[at : at + 2])
        splits = [SPLITS[table[row, 2]] for row in (first, second)]
        where = f"twice in {splits[0]}" if splits[0] == splits[1] else f"in {splits[0]} and again in {splits[1]}"
        pair = f"user {table[first, 0]} and item {table[first, 1]} are paired {where}"
        raise ValueError(f"{path}, lines {first + 2} and {second + 2}: {pair}, expected each pair once")


def _open_features(path: Path, key: str, num_items: int) -> NDArray[Any]:
    """The mapped matrix (I, D) or (I, T, D)."""
    stored = open_matrix(path, key, num_items, in_time=True)
    if len(stored) != num_items:
        expected = f"expected {num_items}, the largest itemID of the .inter file plus one"
        raise ValueError(f"{path} ({key}): found {len(stored)} rows, {expected}")
    return stored


def _read_rows(path: Path, key: str, stored: NDArray[Any], rows: IntArray) -> NDArray[np.float32]:
    """Rows of a matrix as float32 in memory, (N, D); float64 beyond float32's range is refused like infinity."""
    shape = len(rows), stored.shape[1]
    try:
        matrix_ND = np.empty(shape, dtype=np.float32)
    except MemoryError as error:
        size = 4 * shape[0] * shape[1] / 2**30
        raise ValueError(f"{path} ({key}): shape {shape} needs {size:.1f} GiB, more than available") from error
    with np.errstate(over="ignore", invalid="ignore"):
        for start in range(0, len(rows), BLOCK):  # a copy: the file may change during a job
            matrix_ND[start : start + BLOCK] = stored[rows[start : start + BLOCK]]
        # A float64 sum of float32 cannot overflow, so it is finite exactly when every term is.
        wrong = np.flatnonzero(~np.isfinite(matrix_ND.sum(axis=1, dtype=np.float64)))
    if wrong.size:
        column = int(np.flatnonzero(~np.isfinite(matrix_ND[wrong[0]]))[0])
        found = f"row {rows[wrong[0]]}, column {column} is {stored[rows[wrong[0]], column]}"
        expected = f"expected numbers that are finite as float32 (rows with others: {wrong.size})"
        raise ValueError(f"{path} ({key}): {found}, {expected}")
    return matrix_ND


def _read_whole_numbers(path: Path, key: str, num_items: int) -> IntArray:
    """One whole number for each item, (I,)."""
    try:
        found = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ValueError(f"{path} ({key}): expected a .npy file of whole numbers: {error}") from error
    if not isinstance(found, np.ndarray) or found.dtype.kind not in "iu" or found.shape != (num_items,):
        what = f"{found.dtype} of shape {found.shape}" if isinstance(found, np.ndarray) else "an archive"
        expected = f"expected whole numbers of shape ({num_items},), one for each item"
        raise ValueError(f"{path} ({key}): found {what}, {expected}")
    return found.astype(np.int64)
