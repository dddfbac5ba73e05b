"""The way from raw files to a data set folder, in order."""

import hashlib
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np

from trustmm import __version__
from trustmm.dataset.data import Dataset
from trustmm.dataset.layout import ITEMS, SPLITS, USERS, feature_file, is_modality, write_inter, write_names
from trustmm.dataset.new_folder import Workshop, check_new, new_folder
from trustmm.dataset.prepare.core import k_core
from trustmm.dataset.prepare.encode import Encoder, encode
from trustmm.dataset.prepare.feature_files import FeatureFile
from trustmm.dataset.prepare.features import Filling, ItemFeatures, by_item, by_place, filled
from trustmm.dataset.prepare.images import ImageFile, binary_rows, check_binary, item_images
from trustmm.dataset.prepare.interactions import Collector, Columns, Interactions, distinct, find_columns, renumbered
from trustmm.dataset.prepare.records import field_names, records
from trustmm.dataset.prepare.split import random_split, time_split
from trustmm.dataset.prepare.tally import Tally
from trustmm.dataset.prepare.text import FIELDS, find_item_column, item_texts
from trustmm.dataset.provenance import file_facts, write_provenance
from trustmm.graph.edges import Edges, IntArray
from trustmm.options.checks import Count, Seed, Within
from trustmm.store.cache import Cache

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Preparation:
    """What is made of what. Fields are the options of the command, with dashes as underscores."""

    out: Path
    """The folder to be, ``ROOT/NAME``; must not exist."""
    interactions: tuple[Path, ...]
    """Files of reviews, ratings or any table."""
    user: str | None = None
    """Name of the column of users; None to find it, as for `item` and `time`."""
    item: str | None = None
    time: str | None = None
    header: tuple[str, ...] | None = None
    """Columns of CSV or TSV files of interactions that have no header line."""
    core: Annotated[int, Within("[1, inf)")] = 5
    """Least number of pairs of each user and each item."""
    split: Literal["random", "time"] = "random"
    seed: Seed = 0
    """Of the random split."""
    metadata: Path | None = None
    """File with the texts of items."""
    item_column: str | None = None
    """Column of items in `metadata` and in Parquet features; None to find it."""
    text_fields: tuple[str, ...] = FIELDS
    image_features: Path | None = None
    """Amazon's binary file."""
    images: Path | None = None
    """Folder of images named after items."""
    features: Mapping[str, FeatureFile] = field(default_factory=dict)
    """Ready-made features by modality."""
    missing: Filling = "mean"
    """What items without a feature get."""
    batch_size: Count = 64
    cache: Path | None = None
    """Where encoded batches stay; None: beside `out`, until it is finished."""

    def check(self, *, has_text_encoder: bool, has_image_encoder: bool) -> list[Columns]:
        """Everything that can be found before the work; the columns of each file of interactions.

        Raises: ValueError for the first mistake.
        """
        check_new(self.out, "--out")
        for path in self.sources():
            if not path.is_file():
                raise ValueError(f"{path} is missing or no file")
        if self.images is not None and not self.images.is_dir():
            raise ValueError(f"--images {self.images} is not a folder")
        _both("--metadata", self.metadata is not None, "--text-model", has_text_encoder)
        _both("--images", self.images is not None, "--vision-model", has_image_encoder)
        names = [*self.features, *(["textual"] if self.metadata else [])]
        names += ["visual"] * ((self.images is not None) + (self.image_features is not None))
        for name in names:
            if not is_modality(name):
                raise ValueError(f"--features: a modality must be a name such as visual, got {name!r}")
            if names.count(name) > 1:
                raise ValueError(f"the modality {name} is given {names.count(name)} times, expected one source")
        if self.metadata is not None:
            find_item_column(self.metadata, field_names(self.metadata), self.item_column)
        if self.image_features is not None:
            check_binary(self.image_features)
        for file in self.features.values():
            file.check()
        return [self._columns(path) for path in self.interactions]

    def _columns(self, path: Path) -> Columns:
        names = field_names(path, self.header)
        chosen = {"user": self.user, "item": self.item, "time": self.time}
        return find_columns(path, names, **chosen, need_time=self.split == "time")

    def sources(self) -> list[Path]:
        """All files that are read, the images of a folder left out."""
        files = [*self.interactions, self.metadata, self.image_features]
        for feature in self.features.values():
            files += [feature.path, feature.items]
        return [path for path in files if path is not None]

    def options(self) -> dict[str, Any]:
        """What determines the folder beside the sources, as plain values."""
        names = ("user", "item", "time", "core", "split", "seed", "item_column", "missing", "batch_size")
        lists = {"header": self.header, "text_fields": self.text_fields if self.metadata else None}
        return {name: getattr(self, name) for name in names} | {
            name: None if value is None else list(value) for name, value in lists.items()
        }


def _both(left: str, has_left: bool, right: str, has_right: bool) -> None:
    if has_left is not has_right:
        given, needed = (left, right) if has_left else (right, left)
        raise ValueError(f"{given} needs {needed}")


@dataclass
class _Record:
    """What is told about the work, and written down."""

    steps: list[dict[str, Any]] = field(default_factory=list)
    tallies: list[Tally] = field(default_factory=list)

    def step(self, name: str, pairs: Interactions, **more: Any) -> None:
        self.steps.append({"step": name, **pairs.counts(), **more})
        log.info("%s: %s", name, ", ".join(f"{count} {what}" for what, count in (pairs.counts() | more).items()))

    @contextmanager
    def tally(self, source: str) -> Iterator[Tally]:
        tally = Tally(source)
        self.tallies.append(tally)
        yield tally
        for line in tally.lines():
            log.info("%s", line)


def prepare(
    options: Preparation,
    *,
    text_encoder: Encoder[str] | None = None,
    image_encoder: Encoder[ImageFile] | None = None,
) -> dict[str, Any]:
    """Make the folder `options.out`, whole or not at all; the content of its ``dataset.json``.

    Args:
        options: sources and choices.
        text_encoder: of `options.metadata`.
        image_encoder: of `options.images`.

    Raises: ValueError for what the user typed and what files hold, before the work where it can be seen then.
    """
    checks = {"has_text_encoder": text_encoder is not None, "has_image_encoder": image_encoder is not None}
    columns = options.check(**checks)
    with new_folder(options.out, "--out") as workshop:
        record = _Record()
        pairs = read_pairs(options, columns, record)
        labels, split_facts = split(pairs, options)
        _write_tables(options, workshop, pairs, labels)
        splits = [pairs.keep(labels == label) for label in range(len(SPLITS))]
        train, valid, test = (
            Edges.of(part.users, part.items, len(pairs.user_names), len(pairs.item_names)) for part in splits
        )
        numbers = {name: number for number, name in enumerate(pairs.item_names)}
        cache = Cache(options.cache or workshop.cache)
        matrices, facts = {}, {}
        for name, found in item_features(options, numbers, text_encoder, image_encoder, cache, record):
            matrices[name] = filled(found, options.missing)
            np.save(workshop.folder / feature_file(name), matrices[name])
            facts[name] = _feature_facts(name, found, options)
            log.info("%s: %s", name, ", ".join(f"{key} {value}" for key, value in facts[name].items()))
        data = Dataset(options.out.name, train, valid, test, matrices)
        provenance = {
            "name": data.name,
            "made_by": f"trustmm {__version__}, trustmm.dataset.prepare",
            "sources": _source_facts(options),
            "options": options.options(),
            "columns": [vars(found) for found in columns],
            "steps": record.steps,
            "not_used": [{"source": one.source, "cases": one.as_json()} for one in record.tallies if one.counts],
            "split": split_facts | {name: len(part) for name, part in zip(SPLITS, splits, strict=True)},
            "features": facts,
            "digest": data.digest,
        }
        write_provenance(workshop.folder, provenance)
    return provenance


def read_pairs(options: Preparation, columns: list[Columns], record: _Record) -> Interactions:
    """The distinct pairs of all files, filtered to the core and numbered.

    Raises: ValueError if nothing is left.
    """
    collector = Collector(need_time=options.split == "time")
    for path, names in zip(options.interactions, columns, strict=True):
        wanted = [name for name in (names.user, names.item, names.time) if name]
        with record.tally(path.name) as tally:
            collector.add(records(path, tally, options.header, wanted), names, tally)
    pairs = collector.finish()
    record.step("read", pairs)
    pairs = distinct(pairs)
    record.step("distinct pairs", pairs)
    pairs, rounds = k_core(pairs, options.core)
    record.step(f"{options.core}-core", pairs, rounds=rounds)
    if not len(pairs):
        before = ", ".join(f"{step['interactions']} {step['step']}" for step in record.steps[:-1])
        raise ValueError(f"no pairs are left of {before}: the {options.core}-core is empty; lower --core")
    return renumbered(pairs)


def split(pairs: Interactions, options: Preparation) -> tuple[IntArray, dict[str, Any]]:
    """Labels (E,), and for the provenance how they were made.

    Raises: ValueError if a split stays empty.
    """
    if options.split == "random":
        labels, facts = random_split(pairs, options.seed), {"how": "8:1:1 at random within each user"}
        if len(np.unique(labels)) < len(SPLITS):
            raise ValueError("no user has 3 pairs or more, so nothing can be held out; expected some, raise --core")
        return labels, facts
    labels, (last_train, last_valid) = time_split(pairs.times)
    trained_users, trained_items = np.unique(pairs.users[labels == 0]), np.unique(pairs.items[labels == 0])
    test = pairs.keep(labels == 2)
    return labels, {
        "how": "8:1:1 by one time for all",
        "last_train": last_train,
        "last_valid": last_valid,
        "test_pairs_of_users_without_training": int((~np.isin(test.users, trained_users)).sum()),
        "test_pairs_of_items_without_training": int((~np.isin(test.items, trained_items)).sum()),
    }


def item_features(
    options: Preparation,
    numbers: Mapping[str, int],
    text_encoder: Encoder[str] | None,
    image_encoder: Encoder[ImageFile] | None,
    cache: Cache,
    record: _Record,
) -> Iterator[tuple[str, ItemFeatures]]:
    """Modality and features, one after the other, so that one matrix is in memory beside those kept."""
    encoding: dict[str, Any] = {"batch_size": options.batch_size, "cache": cache}
    if options.metadata is not None and text_encoder is not None:
        with record.tally(options.metadata.name) as tally:
            column = find_item_column(options.metadata, field_names(options.metadata), options.item_column)
            texts = item_texts(records(options.metadata, tally), column, options.text_fields, numbers, tally)
        places = [place for place, text in enumerate(texts) if text]
        if not places:
            raise ValueError(f"{options.metadata}: no item of the data set has a text in {options.text_fields}")
        rows = encode([texts[place] for place in places], text_encoder, content=str, label="textual", **encoding)
        yield "textual", by_place(rows, places, len(numbers), {"encoder": dict(text_encoder.identity())})
    if options.images is not None and image_encoder is not None:
        with record.tally(options.images.name) as tally:
            images, places = item_images(options.images, numbers, tally)
            if not images:
                raise ValueError(f"--images {options.images}: no image is named after an item of the data set")
            rows = encode(images, image_encoder, content=lambda image: image.sha256, label="visual", **encoding)
            found = by_place(
                rows, places, len(numbers), {"encoder": dict(image_encoder.identity()), "images": _images(images)}
            )
            for image, place in zip(images, places, strict=True):
                if not found.known[place]:
                    tally.add("image that cannot be read", image.path.name)
        yield "visual", found
    ready = {name: (file.path, file.rows()) for name, file in options.features.items()}
    if options.image_features is not None:
        ready["visual"] = options.image_features, binary_rows(options.image_features)
    for name, (path, source_rows) in ready.items():
        with record.tally(path.name) as tally:
            found = by_item(source_rows, numbers, tally, source=str(path))
        yield name, found


def _images(images: list[ImageFile]) -> dict[str, Any]:
    """Number, size and hash of the images that were used."""
    state = hashlib.sha256()
    for image in images:
        state.update(f"{image.path.name}\0{image.sha256}\n".encode())
    size = sum(image.path.stat().st_size for image in images)
    return {"files": len(images), "bytes": size, "sha256": state.hexdigest()}


def _feature_facts(name: str, found: ItemFeatures, options: Preparation) -> dict[str, Any]:
    known = int(found.known.sum())
    facts = {"file": feature_file(name), "shape": list(found.matrix.shape), **found.facts, "items_with": known}
    return facts | {"items_filled": len(found.known) - known, "filled_with": options.missing}


def _source_facts(options: Preparation) -> list[dict[str, Any]]:
    return [{"file": path.name, **file_facts(path)} for path in options.sources()]


def _write_tables(options: Preparation, workshop: Workshop, pairs: Interactions, labels: IntArray) -> None:
    times = pairs.times if np.isfinite(pairs.times).any() else None
    write_inter(workshop.folder / f"{options.out.name}.inter", pairs.users, pairs.items, labels, times)
    write_names(workshop.folder / USERS, "user", pairs.user_names)
    write_names(workshop.folder / ITEMS, "item", pairs.item_names)
