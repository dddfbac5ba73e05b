"""Features of the items from each source that is given: texts, images, attributes, ready-made rows."""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from trustmm.dataset.access import named
from trustmm.dataset.prepare.attributes import item_attributes
from trustmm.dataset.prepare.encode import Encoder, encode
from trustmm.dataset.prepare.features import ItemFeatures, by_item, by_place
from trustmm.dataset.prepare.images import ImageFile, binary_rows, item_images
from trustmm.dataset.prepare.options import Preparation
from trustmm.dataset.prepare.records import Record, records
from trustmm.dataset.prepare.tally import Tally, check_matched
from trustmm.dataset.prepare.text import find_item_column, item_texts
from trustmm.store.cache import Cache

Found = tuple[str, ItemFeatures]


class Tallies(Protocol):
    """Keeps a tally for each source."""

    def tally(self, source: str) -> AbstractContextManager[Tally]:
        """A tally for one source, logged when the block ends."""


def item_features(
    options: Preparation,
    numbers: Mapping[str, int],
    text_encoder: Encoder[str] | None,
    image_encoder: Encoder[ImageFile] | None,
    cache: Cache,
    tallies: Tallies,
) -> Iterator[Found]:
    """Modality and features, one after the other, so that one matrix is in memory beside those kept.

    Args:
        options: the sources.
        numbers: dense id by item name.
        text_encoder: of `options.metadata`.
        image_encoder: of `options.images`.
        cache: of encoded batches.
        tallies: count skipped records.

    Raises: ValueError for a source with too many unusable records, or one that leaves too many items without content.
    """
    encoding: dict[str, Any] = {"batch_size": options.batch_size, "cache": cache}
    if text_encoder is not None:
        yield _textual(options, numbers, text_encoder, encoding, tallies)
    if image_encoder is not None:
        yield _visual(options, numbers, image_encoder, encoding, tallies)
    if options.attributes is not None:
        yield _attribute(options, numbers, tallies)
    yield from _ready_made(options, numbers, tallies)


def _textual(
    options: Preparation,
    numbers: Mapping[str, int],
    encoder: Encoder[str],
    encoding: Mapping[str, Any],
    tallies: Tallies,
) -> Found:
    path = options.metadata
    assert path is not None, "checked before"
    with tallies.tally(path.name) as tally:
        column = find_item_column(path, options.fields_of_items(path), options.item_column)
        texts = item_texts(_records(options, path, tally), column, options.text_fields, numbers, tally)
        tally.check(path, options.tolerance)
        places = [place for place, text in enumerate(texts) if text]
        if not places:
            raise ValueError(f"{path}: no item of the data set has a text in {', '.join(options.text_fields)}")
        _check(
            options,
            f"{path}",
            f"text in {', '.join(options.text_fields)}",
            np.array([bool(text) for text in texts]),
            numbers,
        )
    rows = encode([texts[place] for place in places], encoder, content=str, label="textual", **encoding)
    return "textual", by_place(rows, places, len(numbers), {"encoder": dict(encoder.identity())})


def _visual(
    options: Preparation,
    numbers: Mapping[str, int],
    encoder: Encoder[ImageFile],
    encoding: Mapping[str, Any],
    tallies: Tallies,
) -> Found:
    folder = options.images
    assert folder is not None, "checked before"
    with tallies.tally(folder.name) as tally, named("--images", folder):
        images, places = item_images(folder, numbers, tally)
        if not images:
            raise ValueError(f"--images {folder}: no image is named after an item of the data set")
        rows = encode(images, encoder, content=lambda image: image.sha256, label="visual", **encoding)
        facts = {"encoder": dict(encoder.identity()), "images": _image_facts(images)}
        found = by_place(rows, places, len(numbers), facts)
        for image, place in zip(images, places, strict=True):
            if not found.known[place]:
                tally.add("image that cannot be read", image.path.name)
        _check(options, f"--images {folder}", "image that can be read", found.known, numbers)
    return "visual", found


def _attribute(options: Preparation, numbers: Mapping[str, int], tallies: Tallies) -> Found:
    path = options.attributes
    assert path is not None, "checked before"
    columns = options.found_attributes()
    with tallies.tally(path.name) as tally:
        item_column = find_item_column(path, options.fields_of_items(path), options.item_column)
        found = item_attributes(_records(options, path, tally), item_column, columns, numbers, tally)
        tally.check(path, options.tolerance)
        if not found.known.any():
            raise ValueError(f"{path}: no item of the data set has a value in {', '.join(columns)}")
        _check(options, f"{path}", f"value in {', '.join(columns)}", found.known, numbers)
    return "attribute", found


def _records(options: Preparation, path: Path, tally: Tally) -> Iterator[tuple[int, Record]]:
    return records(path, tally, options.item_header, encoding=options.encoding)


def _ready_made(options: Preparation, numbers: Mapping[str, int], tallies: Tallies) -> Iterator[Found]:
    ready = {name: (file.path, file.rows(), file.column()) for name, file in options.features.items()}
    if options.image_features is not None:
        ready["visual"] = options.image_features, binary_rows(options.image_features), "item"
    for name, (path, rows, column) in ready.items():
        with tallies.tally(path.name) as tally:
            found = by_item(rows, numbers, tally, source=str(path), column=column)
            tally.check(path, options.tolerance)
            _check(options, str(path), "row of numbers that are finite", found.known, numbers)
        yield name, found


def _check(options: Preparation, source: str, what: str, known: NDArray[np.bool_], numbers: Mapping[str, int]) -> None:
    unmatched = [name for name, place in numbers.items() if not known[place]]
    check_matched(source, what, unmatched, len(numbers), options.tolerance)


def _image_facts(images: list[ImageFile]) -> dict[str, Any]:
    """Number, size and hash of the images that were used."""
    state = hashlib.sha256()
    for image in images:
        state.update(f"{image.path.name}\0{image.sha256}\n".encode())
    size = sum(image.path.stat().st_size for image in images)
    return {"files": len(images), "bytes": size, "sha256": state.hexdigest()}
