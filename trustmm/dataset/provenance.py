"""``dataset.json``: where a data set folder comes from, and the hashes that tell whether it is still the same."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from trustmm.dataset.layout import is_modality, is_plain

FILE = "dataset.json"
FORMAT = "trustmm dataset 1"
LARGEST = 16 * 2**20
"""Bytes of a dataset.json that are read at most."""


def file_facts(path: Path) -> dict[str, Any]:
    """Size in bytes and SHA-256 of a file."""
    with path.open("rb") as handle:
        return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(handle, "sha256").hexdigest()}


def write_provenance(folder: Path, facts: Mapping[str, Any]) -> None:
    """Write ``dataset.json`` last of all: the facts, and size and SHA-256 of every file in the folder."""
    files = {path.name: file_facts(path) for path in sorted(folder.iterdir()) if path.name != FILE}
    text = json.dumps({"format": FORMAT, **facts, "files": files}, indent=1, allow_nan=False)
    (folder / FILE).write_text(text + "\n", encoding="utf-8")


def read_provenance(folder: Path) -> dict[str, Any] | None:
    """The checked content of ``dataset.json``, or None where there is no such file.

    Raises: ValueError for a file that is no provenance, or names files outside the folder.
    """
    path = folder / FILE
    if not path.is_file():
        return None
    with path.open("rb") as handle:
        content = handle.read(LARGEST + 1)
    if len(content) > LARGEST:
        raise ValueError(f"{path}: found more than {LARGEST} bytes, expected a file written by trustmm")
    try:
        found = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: found invalid JSON ({error}), expected a file written by trustmm") from error
    problem = _problem(found)
    if problem:
        raise ValueError(f"{path}: {problem}, expected a file written by trustmm; delete it to do without")
    return dict(found)


def _problem(found: Any) -> str | None:
    if not isinstance(found, Mapping) or found.get("format") != FORMAT:
        return f"found no format {FORMAT!r}"
    if not is_plain(found.get("name")):
        return f"found the name {found.get('name')!r}"
    features, files = found.get("features"), found.get("files")
    if not isinstance(features, Mapping) or not isinstance(files, Mapping):
        return "found no features or files"
    for name, feature in features.items():
        file = feature.get("file") if isinstance(feature, Mapping) else None
        if not (is_modality(name) and is_plain(file) and file in files):
            return f"found the feature {name!r} in {file!r}"
    if not all(isinstance(facts, Mapping) and {"bytes", "sha256"} <= facts.keys() for facts in files.values()):
        return "found a file without bytes or sha256"
    return None


def modalities(provenance: Mapping[str, Any]) -> dict[str, str]:
    """Modality to file name, as recorded."""
    return {str(name): str(feature["file"]) for name, feature in provenance["features"].items()}


def check_files(paths: Iterable[Path], provenance: Mapping[str, Any]) -> None:
    """Raise ValueError if a recorded file among `paths` is not what was written; others are not looked at."""
    for path in paths:
        recorded = provenance["files"].get(path.name)
        if recorded is None:
            continue
        size = path.stat().st_size
        if size != recorded["bytes"]:
            found = f"{size} bytes, {FILE} says {recorded['bytes']}"
        elif file_facts(path)["sha256"] != recorded["sha256"]:
            found = f"content that differs (SHA-256) from {FILE}"
        else:
            continue
        raise ValueError(
            f"{path}: found {found}; expected the file as it was prepared. Prepare the folder again, or delete {FILE} "
            "if the change is intended"
        )
