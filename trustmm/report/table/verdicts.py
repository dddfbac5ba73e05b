"""The verdicts of a study that stops by itself."""

from collections.abc import Iterator

from trustmm.report.page.evidence import COLUMNS, caption, verdicts
from trustmm.report.runs.read import Runs
from trustmm.report.table.table import Table


def verdict_tables(runs: Runs) -> Iterator[Table]:
    """A table for every study that stopped by itself."""
    for number, study in enumerate(runs.looks):
        name = "evidence" if number == 0 else f"evidence_{number + 1}"
        notes = [f"Study: {study.folder}.", *(f"Environment {line}" for line in study.environments)]
        text = f"{caption(study.metric, study.nominal)} (docs/evidence.md)."
        yield Table(f"{name}_verdicts", "Verdicts", COLUMNS, verdicts(study.paths), text, notes)
