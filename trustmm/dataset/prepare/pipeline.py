"""The way from raw files to a data set folder, in order."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np

from trustmm import __version__
from trustmm.dataset.access import is_folder
from trustmm.dataset.data import Dataset
from trustmm.dataset.layout import ITEMS, SPLITS, USERS, feature_file, write_inter, write_names
from trustmm.dataset.new_folder import Workshop, new_folder
from trustmm.dataset.prepare.columns import Columns
from trustmm.dataset.prepare.content import item_features
from trustmm.dataset.prepare.core import k_core
from trustmm.dataset.prepare.encode import Encoder
from trustmm.dataset.prepare.feature_files import item_folder
from trustmm.dataset.prepare.features import ItemFeatures, filled
from trustmm.dataset.prepare.images import ImageFile
from trustmm.dataset.prepare.interactions import Collector, Interactions, distinct, renumbered
from trustmm.dataset.prepare.options import Preparation
from trustmm.dataset.prepare.records import records
from trustmm.dataset.prepare.split import random_split, time_split
from trustmm.dataset.prepare.tally import Tally
from trustmm.dataset.provenance import file_facts, write_provenance
from trustmm.graph.edges import Edges, IntArray
from trustmm.store.cache import Cache, recorded

log = logging.getLogger(__name__)


@dataclass
class _Record:
    """Steps and skipped records of a preparation, for the log and the provenance."""

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
    environment: Mapping[str, str] = MappingProxyType({}),
) -> dict[str, Any]:
    """Make the folder `options.out`, whole or not at all; the content of its ``dataset.json``.

    Args:
        options: sources and choices.
        text_encoder: of `options.metadata`.
        image_encoder: of `options.images`.
        environment: of this process, recorded with what encoders computed.

    Raises: ValueError for wrong options and unusable files, before the work starts where that can be known.
    """
    checks = {"has_text_encoder": text_encoder is not None, "has_image_encoder": image_encoder is not None}
    columns = options.check(**checks)
    with new_folder(options.out, "--out") as workshop:
        record = _Record()
        pairs, units = read_pairs(options, columns, record)
        labels, split_facts = split(pairs, options)
        _write_tables(options, workshop, pairs, labels)
        splits = [pairs.keep(labels == label) for label in range(len(SPLITS))]
        train, valid, test = (
            Edges.of(part.users, part.items, len(pairs.user_names), len(pairs.item_names)) for part in splits
        )
        numbers = {name: number for number, name in enumerate(pairs.item_names)}
        cache = Cache(options.cache or workshop.cache, environment=environment)
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
            "columns": [vars(found) | {"unit": unit} for found, unit in zip(columns, units, strict=True)],
            "steps": record.steps,
            "not_used": [{"source": one.source, "cases": one.as_json()} for one in record.tallies if one.counts],
            "split": split_facts | {name: len(part) for name, part in zip(SPLITS, splits, strict=True)},
            "features": facts,
            "digest": data.digest,
            "environment": dict(environment),
            "inputs": recorded(cache.handed),
        }
        write_provenance(workshop.folder, provenance)
    return provenance


def read_pairs(options: Preparation, columns: list[Columns], record: _Record) -> tuple[Interactions, list[str | None]]:
    """The distinct pairs of all files, filtered to the core and numbered; the unit of times in each file.

    Raises: ValueError if too much of a file cannot be used, or nothing is left.
    """
    collector, units = Collector(need_time=options.split == "time"), []
    for path, names in zip(options.interactions, columns, strict=True):
        wanted = [name for name in (names.user, names.item, names.time) if name]
        with record.tally(path.name) as tally:
            found = records(path, tally, options.header, wanted, options.encoding)
            units.append(collector.add(path, found, names, tally))
            tally.check(path, options.tolerance)
    pairs = collector.finish()
    record.step("read", pairs)
    pairs = distinct(pairs)
    record.step("distinct pairs", pairs)
    pairs, rounds = k_core(pairs, options.core)
    record.step(f"{options.core}-core", pairs, rounds=rounds)
    if not len(pairs):
        before = ", ".join(f"{step['interactions']} {step['step']}" for step in record.steps[:-1])
        raise ValueError(f"no pairs are left of {before}: the {options.core}-core is empty; lower --core")
    return renumbered(pairs), units


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


def _feature_facts(name: str, found: ItemFeatures, options: Preparation) -> dict[str, Any]:
    known = int(found.known.sum())
    facts = {"file": feature_file(name), "shape": list(found.matrix.shape), **found.facts, "items_with": known}
    return facts | {"items_filled": len(found.known) - known, "filled_with": options.missing}


def _source_facts(options: Preparation) -> list[dict[str, Any]]:
    facts = []
    for _, path in options.sources():
        files = sorted(item_folder(path).glob("*.npy")) if is_folder(path) else [path]
        facts += [{"file": file.name, **file_facts(file)} for file in files]
    return facts


def _write_tables(options: Preparation, workshop: Workshop, pairs: Interactions, labels: IntArray) -> None:
    times = pairs.times if np.isfinite(pairs.times).any() else None
    write_inter(workshop.folder / f"{options.out.name}.inter", pairs.users, pairs.items, labels, times)
    write_names(workshop.folder / USERS, "user", pairs.user_names)
    write_names(workshop.folder / ITEMS, "item", pairs.item_names)
