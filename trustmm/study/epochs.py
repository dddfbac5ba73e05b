"""What a running job has said about its epochs so far."""

import json
from pathlib import Path


def validation_by_epoch(folder: Path, metric: str) -> list[tuple[int, float]]:
    """Epochs of the backbone and their validation values in ``history.jsonl``, which may still be written to.

    Args:
        folder: of the job; a job that has not begun has no history.
        metric: such as recall@10.
    """
    try:
        text = (folder / "history.jsonl").read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return []
    whole = text[: text.rfind("\n") + 1]
    try:
        lines = [json.loads(line) for line in whole.splitlines()]
        return [(line["epoch"], line["valid"][metric]) for line in lines if line["stage"] == "backbone"]
    except (ValueError, LookupError, TypeError):  # damaged: the job's own concern
        return []
