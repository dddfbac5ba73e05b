"""``trustmm cache``: what the cache holds, and how to empty it."""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from trustmm.store.room import Kept, bytes_of, evict, kept, size_text

DESCRIPTION = """
Lists what the cache holds (priors, rectified features, item graphs) by kind, and removes entries. Removed entries are
computed again when a job needs them. Jobs keep the cache below cache_limit by themselves.
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command; exit status 1 with one message where there is no cache or a size is wrong."""
    options = _parser().parse_args(arguments)
    try:
        if not options.folder.is_dir():
            raise ValueError(f"there is no cache at {options.folder}; give its folder, which is OUTPUT_DIR/cache")
        limit = 0 if options.empty else bytes_of("--limit", options.limit)
        gone = [] if limit is None else evict(options.folder, limit)
    except (ValueError, OSError) as error:
        sys.stderr.write(f"trustmm: {error}\n")
        raise SystemExit(1) from error
    if limit is not None:
        sys.stdout.write(f"removed {len(gone)} files\n")
    sys.stdout.write("\n".join(table(kept(options.folder))) + "\n")


def table(files: Sequence[Kept]) -> list[str]:
    """A line a kind: entries, size, last use; then the sum."""
    lines = [f"{'kind':16} {'entries':>8} {'size':>10}  last use"]
    for kind in sorted({file.kind for file in files}):
        lines.append(_line(kind, [file for file in files if file.kind == kind]))
    return [*lines, _line("all", files)]


def _line(kind: str, files: Sequence[Kept]) -> str:
    entries = sum(file.path.suffix == ".npz" for file in files)
    last = max((file.used for file in files), default=None)
    shown = "" if last is None else time.strftime("%Y-%m-%d %H:%M", time.localtime(last))
    return f"{kind:16} {entries:8d} {size_text(sum(file.size for file in files)):>10}  {shown}".rstrip()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("trustmm cache", description=DESCRIPTION)
    parser.add_argument("folder", nargs="?", type=Path, default=Path("outputs/cache"), help="default: outputs/cache")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--empty", action="store_true", help="remove everything")
    what.add_argument("--limit", metavar="SIZE", help="remove the least recently used entries, down to '5 GB'")
    return parser
