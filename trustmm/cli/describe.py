"""``python -m trustmm describe FOLDER``: Table 1's statistics, degrees and feature health, with a figure."""

import argparse
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from trustmm.dataset.access import is_folder, named
from trustmm.dataset.folder import read_splits
from trustmm.dataset.layout import is_plain, modality_of
from trustmm.dataset.matrix import open_matrix
from trustmm.dataset.provenance import check_files, modalities, read_provenance
from trustmm.dataset.statistics import Health, degree_quantiles, health, sizes
from trustmm.graph.edges import Edges
from trustmm.store.files import atomic

NAME_WIDTH = 14
FORMATS = (".png", ".pdf", ".svg")


def main(words: list[str] | None = None) -> None:
    """Run the command; exit status 1 with one message if the folder cannot be read."""
    parser = argparse.ArgumentParser("python -m trustmm describe", description=__doc__, allow_abbrev=False)
    parser.add_argument("folder", type=Path, help="a prepared folder, or one in the published layout")
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="file of the figure: .png, .pdf or .svg (default: FOLDER/NAME.png, beside the data)",
    )
    arguments = parser.parse_args(words)
    try:
        with named("the data set", arguments.folder):
            for line in describe(arguments.folder, arguments.out):
                sys.stdout.write(line + "\n")
    except ValueError as error:
        sys.stderr.write(f"trustmm: {error}\n")
        raise SystemExit(1) from None


def describe(folder: Path, out: Path | None = None) -> Iterator[str]:
    """Lines for people; draws the figure last.

    Args:
        folder: with a .inter file; a ``dataset.json`` in it is checked.
        out: file of the figure; None for ``NAME.png`` beside the data.

    Raises: ValueError for what the files hold; a feature file that models could not use is told, not raised.
    """
    if out is not None and out.suffix not in FORMATS:
        raise ValueError(f"--out {out}: found the suffix {out.suffix!r}, expected {', '.join(FORMATS)}")
    inter = find_inter(folder)
    splits, files = read_splits(inter), feature_files(folder)
    yield from size_lines(inter.stem, *splits)
    every = splits[0].union(splits[1]).union(splits[2])
    yield from degree_lines(every)
    norms = {}
    for modality, path in files.items():
        matrix = open_matrix(path, modality, in_time=True)
        found = health(matrix.reshape(-1, matrix.shape[-1]))  # frames, where there is a time axis
        norms[modality] = found.norms
        frames = matrix.shape[1] if matrix.ndim == 3 else 1
        yield from health_lines(modality, path.name, found, every.num_items * frames)
    if not files:
        yield "features       none"
    yield from provenance_lines(folder, [inter, *files.values()])
    from trustmm.report.page.dataset import draw_dataset

    target = out or folder / f"{inter.stem}.png"
    with named("--out", target), atomic(target) as temporary:
        draw_dataset(inter.stem, every.user_degree, every.item_degree, norms).savefig(temporary)
    yield f"figure         {target}"


def find_inter(folder: Path) -> Path:
    """The one .inter file of a folder.

    Raises: ValueError if there is none or several.
    """
    if not is_folder(folder):
        raise ValueError(f"{folder} is not a folder; expected one with a .inter file")
    found = sorted(folder.glob("*.inter"))
    if len(found) != 1:
        names = ", ".join(path.name for path in found) or "none"
        raise ValueError(f"{folder}: found {names}, expected one .inter file")
    return found[0]


def feature_files(folder: Path) -> dict[str, Path]:
    """Feature files by modality: what ``dataset.json`` lists, without one every .npy file in the folder."""
    provenance = read_provenance(folder)
    if provenance is not None:
        return {name: folder / file for name, file in modalities(provenance).items()}
    return {modality_of(path.name): path for path in sorted(folder.glob("*.npy")) if is_plain(path.name)}


def size_lines(name: str, train: Edges, valid: Edges, test: Edges) -> Iterator[str]:
    """The data set's line of Table 1, and its splits."""
    found = sizes(train, valid, test)
    yield f"{name}: {found.users:,} users, {found.items:,} items, {found.interactions:,} interactions, " + (
        f"{found.sparsity:.3%} sparse"
    )
    yield _line("splits", f"{found.train:,} train, {found.valid:,} valid, {found.test:,} test")
    yield _line("cold items", f"{found.cold_items:,} without training pairs")


def degree_lines(every: Edges) -> Iterator[str]:
    """Distribution of the number of pairs of users and items."""
    for label, degree in (("user degree", every.user_degree), ("item degree", every.item_degree)):
        values = degree_quantiles(degree)
        yield _line(label, ", ".join(f"{name} {value:.4g}" for name, value in values.items()))


def health_lines(modality: str, file: str, found: Health, num_items: int) -> Iterator[str]:
    """What is worth knowing about one feature file."""
    yield _line(modality, f"{file}, {found.rows:,} x {found.width} {found.dtype}")
    if found.rows != num_items:
        yield _line("", f"WRONG: expected {num_items:,} rows, the items")
    if len(found.norms):
        low, middle, high = np.quantile(found.norms, (0, 0.5, 1))
        yield _line("", f"norms: least {low:.4g}, median {middle:.4g}, most {high:.4g}")
    rows = {"zero": found.zero_rows, "duplicate": found.duplicate_rows, "not finite": found.not_finite_rows}
    counts = ", ".join(f"{count:,} {what}" for what, count in rows.items())
    yield _line("", f"rows: {counts}; constant columns: {found.constant_columns:,}")


def provenance_lines(folder: Path, files: list[Path]) -> Iterator[str]:
    """Whether the files are what ``dataset.json`` says, and where they come from."""
    provenance = read_provenance(folder)
    if provenance is None:
        yield _line("provenance", "no dataset.json")
        return
    check_files(files, provenance)
    yield _line("provenance", f"{_short(provenance.get('made_by'))}; files are as written")
    for source in provenance.get("sources") or []:
        if isinstance(source, Mapping):
            yield _line("", ", ".join(f"{name} {_short(value)}" for name, value in source.items()))


def _short(value: object) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= 80 else f"{text[:80]}..."


def _line(label: str, text: str) -> str:
    return f"{label:<{NAME_WIDTH}} {text}"
