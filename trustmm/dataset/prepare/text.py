"""Texts of items from their metadata, and sentence-transformers as an encoder of them."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trustmm.dataset.prepare.columns import listed
from trustmm.dataset.prepare.names import one_per_item
from trustmm.dataset.prepare.records import Record
from trustmm.dataset.prepare.tally import Tally

FIELDS = ("brand", "title", "description", "category")
"""What the paper joins, in its order (Sec. 6.1.1)."""
ALIASES = {"brand": ("brand", "store"), "category": ("categories", "category", "main_category")}
"""Names of a field in the metadata of 2014, 2018 and 2023; the first one with content counts."""
ITEM_COLUMNS = ("parent_asin", "asin", "itemID", "item_id", "movieId", "item")
LONGEST_TEXT = 20_000
"""Characters of an item's text that are kept; encoders read the first few hundred words."""


def find_item_column(path: Path, names: Sequence[str], wanted: str | None) -> str:
    """The field of a metadata file that holds the item.

    Args:
        path: the file, for messages.
        names: its fields.
        wanted: what the user typed, or None to find it.

    Raises: ValueError that names those there are.
    """
    known = (wanted,) if wanted else ITEM_COLUMNS
    found = next((column for column in known if column in names), None)
    if found is None:
        raise ValueError(f"{path}: no column {' or '.join(known)} for the item among {listed(names)}")
    return found


def item_texts(
    records: Iterable[tuple[int, Record]],
    item_column: str,
    fields: Sequence[str],
    numbers: Mapping[str, int],
    tally: Tally,
) -> list[str]:
    """The text of each item, (I,); empty for items without metadata.

    Args:
        records: metadata.
        item_column: the field that holds the item.
        fields: what is joined, in order.
        numbers: dense id by item name.
        tally: counts skipped records and items without text.
    """
    texts: list[str | None] = [None] * len(numbers)
    for place, record in one_per_item(records, item_column, numbers, tally, kind="metadata"):
        texts[place] = joined_text(record, fields)
    for name, place in numbers.items():
        if not texts[place]:
            tally.add("item without metadata" if texts[place] is None else "item with an empty text", name)
    return [text or "" for text in texts]


def joined_text(record: Record, fields: Sequence[str]) -> str:
    """The fields of one item as one line; lists are joined, `ALIASES` looked up."""
    parts = []
    for field in fields:
        found = (plain_text(record.get(name)) for name in ALIASES.get(field, (field,)))
        parts.append(next((text for text in found if text), ""))
    return " ".join(part for part in parts if part)[:LONGEST_TEXT]


def plain_text(value: Any) -> str:
    """Text, numbers and lists of them, however deep, on one line; anything else is empty."""
    words: list[str] = []
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, list | tuple):
            waiting.extend(reversed(one))
        elif isinstance(one, str | int | float) and not isinstance(one, bool) and one == one:
            words.append(str(one))
    text = " ".join(" ".join(words).split())
    return text.encode("utf-8", errors="ignore").decode("utf-8")  # without halves of surrogate pairs


class SentenceEncoder:
    """A sentence-transformers model, such as all-MiniLM-L6-v2 (384 numbers a text).

    Weights are read as safetensors only, and no code from a model's folder is run.

    Args:
        model: name on the hub, or a local folder (works offline).
        device: such as cpu or cuda; None lets the library choose.

    Raises: ValueError without the library, or if the model cannot be had.
    """

    whole = False

    def __init__(self, model: str, device: str | None = None) -> None:
        try:
            import sentence_transformers
        except ImportError as error:
            raise ValueError(f"--text-model needs the extra text: pip install 'trustmm[text]' ({error})") from error
        self._folder = Path(model) if Path(model).is_dir() else None
        self._name = self._folder.resolve().name if self._folder else model
        self._version = sentence_transformers.__version__
        try:
            self._model = sentence_transformers.SentenceTransformer(
                model, device=device, trust_remote_code=False, model_kwargs={"use_safetensors": True}
            )
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            hint = "give the folder of a downloaded model, or its name on the hub where there is a network"
            raise ValueError(f"--text-model {model} cannot be loaded ({error}); {hint}") from error

    def identity(self) -> Mapping[str, Any]:
        """Library, version, model, the digest of a local model's files, and how long a text it reads."""
        length = self._model.max_seq_length
        facts = {"library": "sentence-transformers", "version": self._version, "model": self._name, "tokens": length}
        return facts | ({"sha256": folder_sha256(self._folder)} if self._folder else {})

    def encode(self, batch: Sequence[str]) -> NDArray[np.float32]:
        """Rows (B, D)."""
        rows = self._model.encode(list(batch), batch_size=len(batch), convert_to_numpy=True, show_progress_bar=False)
        return np.asarray(rows, dtype=np.float32)


def folder_sha256(folder: Path) -> str:
    """Hash over names and contents of all files below a folder."""
    state = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        with path.open("rb") as handle:
            content = hashlib.file_digest(handle, "sha256").hexdigest()
        state.update(f"{path.relative_to(folder).as_posix()}\0{content}\n".encode())
    return state.hexdigest()
