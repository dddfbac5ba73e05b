"""The options of a preparation, and every check that needs no work."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from trustmm.dataset.access import is_file, is_folder, named
from trustmm.dataset.layout import is_modality
from trustmm.dataset.new_folder import check_new
from trustmm.dataset.prepare.attributes import find_attributes
from trustmm.dataset.prepare.columns import Columns, find_columns, listed
from trustmm.dataset.prepare.feature_files import FeatureFile
from trustmm.dataset.prepare.features import Filling
from trustmm.dataset.prepare.images import check_binary
from trustmm.dataset.prepare.records import JSON_LINES, UTF_8, check_encoding, field_names, kind_of
from trustmm.dataset.prepare.text import FIELDS, find_item_column
from trustmm.options.checks import Count, Seed, Share, Within


@dataclass(frozen=True, kw_only=True)
class Preparation:
    """Sources and choices. Fields are the options of the command, with underscores for dashes."""

    out: Path
    """The folder to be made, ``ROOT/NAME``; must not exist."""
    interactions: tuple[Path, ...]
    """Files of reviews, ratings or any table."""
    user: str | None = None
    """Name of the column of users; None to find it, as for `item` and `time`."""
    item: str | None = None
    time: str | None = None
    """Empty to ignore times."""
    header: tuple[str, ...] | None = None
    """Columns of text tables of interactions that have no header line."""
    item_header: tuple[str, ...] | None = None
    """The same of `metadata` and `attributes`."""
    encoding: str = UTF_8
    """Of all tables of text."""
    core: Annotated[int, Within("[1, inf)")] = 5
    """Least number of pairs of each user and each item."""
    split: Literal["random", "time"] = "random"
    seed: Seed = 0
    """Of the random split."""
    metadata: Path | None = None
    """File with the texts of items."""
    attributes: Path | None = None
    """File with attributes of items, such as genres."""
    attribute_columns: tuple[str, ...] = ()
    """Columns of `attributes`; empty to find one."""
    item_column: str | None = None
    """Column of items in `metadata`, `attributes` and Parquet features; None to find it."""
    text_fields: tuple[str, ...] = FIELDS
    image_features: Path | None = None
    """Amazon's binary file."""
    images: Path | None = None
    """Folder of images named after items."""
    features: Mapping[str, FeatureFile] = field(default_factory=dict)
    """Ready-made features by modality."""
    missing: Filling = "mean"
    """What items without a feature get."""
    tolerance: Share = 0.05
    """Largest share of unusable records in a file, and of items without a text, an image, attributes or a row."""
    batch_size: Count = 64
    cache: Path | None = None
    """Where encoded batches stay; None: beside `out`, until it is finished."""

    def check(self, *, has_text_encoder: bool, has_image_encoder: bool) -> list[Columns]:
        """Check all that can be checked before the work starts; return the columns of each file of interactions.

        Raises: ValueError for the first mistake.
        """
        check_new(self.out, "--out")
        check_encoding("--encoding", self.encoding)
        for key, path in self.sources():
            with named(key, path):
                if not is_file(path) and not (key == "--features" and is_folder(path)):
                    raise ValueError(f"{path} ({key}) is missing or not a file")
                if is_file(path):
                    path.open("rb").close()
        if self.images is not None:
            with named("--images", self.images):
                if not is_folder(self.images):
                    raise ValueError(f"--images {self.images} is not a folder")
        _both("--metadata", self.metadata is not None, "--text-model", has_text_encoder)
        _both("--images", self.images is not None, "--vision-model", has_image_encoder)
        self._check_modalities()
        for table in (self.metadata, self.attributes):
            if table is not None:
                find_item_column(table, self.fields_of_items(table), self.item_column)
        self.found_attributes()
        if self.image_features is not None:
            check_binary(self.image_features)
        for file in self.features.values():
            file.check()
        return [self._columns(path) for path in self.interactions]

    def _check_modalities(self) -> None:
        names = [*self.features, *(["textual"] if self.metadata else []), *(["attribute"] if self.attributes else [])]
        names += ["visual"] * ((self.images is not None) + (self.image_features is not None))
        for name in names:
            if not is_modality(name):
                raise ValueError(f"--features: a modality must be a name such as visual, got {name!r}")
            if names.count(name) > 1:
                raise ValueError(f"the modality {name} is given {names.count(name)} times, expected one source")

    def found_attributes(self) -> tuple[str, ...]:
        """Columns of `attributes`, as given or found.

        Raises: ValueError that names those there are.
        """
        if self.attributes is None:
            return ()
        names = self.fields_of_items(self.attributes)
        for column in self.attribute_columns:
            if (
                column not in names and kind_of(self.attributes) not in JSON_LINES
            ):  # an object may lack what others have
                raise ValueError(f"{self.attributes}: no column {column!r} of attributes among {listed(names)}")
        return self.attribute_columns or find_attributes(self.attributes, names)

    def fields_of_items(self, table: Path) -> list[str]:
        """Columns of `metadata` or `attributes`."""
        return field_names(table, self.item_header, self.encoding)

    def _columns(self, path: Path) -> Columns:
        names = field_names(path, self.header, self.encoding)
        chosen = {"user": self.user, "item": self.item, "time": self.time}
        return find_columns(path, names, **chosen, need_time=self.split == "time")

    def sources(self) -> list[tuple[str, Path]]:
        """Option and path of all that is read, the folder of images left out."""
        files = [("--interactions", path) for path in self.interactions]
        files += [("--metadata", self.metadata)] if self.metadata else []
        files += [("--attributes", self.attributes)] if self.attributes and self.attributes != self.metadata else []
        files += [("--image-features", self.image_features)] if self.image_features else []
        for feature in self.features.values():
            files += [("--features", path) for path in (feature.path, feature.items) if path]
        return files

    def options(self) -> dict[str, Any]:
        """What determines the folder beside the sources, as plain values."""
        names = ("user", "item", "time", "core", "split", "seed", "item_column", "missing", "tolerance", "batch_size")
        lists = {
            "header": self.header,
            "item_header": self.item_header,
            "text_fields": self.text_fields if self.metadata else None,
            "attribute_columns": self.found_attributes() if self.attributes else None,
        }
        return {name: getattr(self, name) for name in (*names, "encoding")} | {
            name: None if value is None else list(value) for name, value in lists.items()
        }


def _both(left: str, has_left: bool, right: str, has_right: bool) -> None:
    if has_left is not has_right:
        given, needed = (left, right) if has_left else (right, left)
        offline = {"--text-model": "; tfidf needs no download", "--vision-model": "; histogram needs no download"}
        raise ValueError(f"{given} needs {needed}{offline.get(needed, '')}")
