"""``python -m trustmm recommend RESULT --out FILE.parquet``: the best items of every user, from a finished job."""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from trustmm.dataset.layout import ITEMS, USERS, read_names
from trustmm.store.files import atomic

if TYPE_CHECKING:
    import pyarrow as pa

    from trustmm.run.model import Model

BLOCK = 16_384
"""Users written at a time."""


def main(words: Sequence[str] | None = None) -> None:
    """Run the command; exit status 1 with one message if the job has no weights, or other data than now."""
    parser = argparse.ArgumentParser("python -m trustmm recommend", description=__doc__, allow_abbrev=False)
    parser.add_argument("result", type=Path, help="folder of a finished job, outputs/JOB_ID, or its result.json")
    parser.add_argument("--top", type=int, default=10, metavar="K", help="items for each user (default: 10)")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.parquet", help="user, item, rank, score")
    parser.add_argument("--include-seen", action="store_true", help="recommend training items, too")
    arguments = parser.parse_args(words)
    try:
        from trustmm.run.model import load_model

        result = arguments.result
        model = load_model(result.parent if result.is_file() else result)
        count = write(model, arguments.out, arguments.top, exclude_seen=not arguments.include_seen)
    except (ValueError, OSError) as error:
        sys.stderr.write(f"trustmm: {error}\n")
        raise SystemExit(1) from None
    sys.stdout.write(f"{count} recommendations for {model.data.num_users} users: {arguments.out}\n")


def write(model: "Model", out: Path, top: int, *, exclude_seen: bool = True) -> int:
    """Write the table, and return its number of rows; the file appears whole or not at all.

    Args:
        model: a trained one.
        out: a Parquet file; user and item are text where the data folder maps ids to names, otherwise integers.
        top: items for each user, fewer where no more are left.
        exclude_seen: leave out a user's training items.

    Raises: ValueError for a name that does not end with .parquet, or `top` below 1.
    """
    import pyarrow.parquet as pq

    if out.suffix != ".parquet":
        raise ValueError(f"--out must be a .parquet file, got {out}")
    count = 0
    with atomic(out) as temporary:
        blocks = _blocks(model, top, exclude_seen)
        first = next(blocks)
        with pq.ParquetWriter(temporary, first.schema) as writer:
            for table in (first, *blocks):
                writer.write_table(table)
                count += table.num_rows
    return count


def _blocks(model: "Model", top: int, exclude_seen: bool) -> "Iterator[pa.Table]":
    import pyarrow as pa

    users, items = names_of(model)
    for start in range(0, model.data.num_users, BLOCK):
        block = np.arange(start, min(start + BLOCK, model.data.num_users))
        found = model.recommend(block, top, exclude_seen=exclude_seen)
        there = found.items >= 0
        row, place = np.nonzero(there)
        yield pa.table(
            {
                "user": users[block[row]],
                "item": items[found.items[there]],
                "rank": (place + 1).astype(np.int32),
                "score": found.scores[there],
            }
        )


def names_of(model: "Model") -> tuple[np.ndarray, np.ndarray]:
    """Names of users and items by id, from the maps in the data folder; the ids themselves where there are none."""
    options = model.stored.summary["config"]["dataset"]
    counts = {USERS: model.data.num_users, ITEMS: model.data.num_items}
    if not options.get("root"):
        return np.arange(counts[USERS]), np.arange(counts[ITEMS])
    folder = Path(options["root"]).expanduser() / (options["name"] or "")
    found = {name: folder / name for name in counts}
    users, items = (
        np.array(read_names(path, counts[name])) if path.is_file() else np.arange(counts[name])
        for name, path in found.items()
    )
    return users, items
