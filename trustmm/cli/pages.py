"""Where running meets the report: the pages that jobs, sweeps and studies leave, handed down as functions."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trustmm.store.job_folder import Stored
    from trustmm.store.sweep_folder import FinishedCell
    from trustmm.study.summary import Report
    from trustmm.sweep.engine import Outcome
    from trustmm.sweep.worker import Assignment


def job_page(stored: "Stored") -> str:
    """See `trustmm.report.page.job`."""
    from trustmm.report.page.job import job_page

    return job_page(stored)


def sweep_page(folder: Path, rows: "Sequence[FinishedCell]") -> str:
    """See `trustmm.report.page.sweep`."""
    from trustmm.report.page.sweep import sweep_page

    return sweep_page(folder, rows)


def draw_study(report: "Report") -> None:
    """See `trustmm.report.page.study`."""
    from trustmm.report.page.study import draw_study

    draw_study(report)


def evidence_page(picture: Path, paths: Any, metric: str, nominal: float, notes: Sequence[str]) -> str:
    """See `trustmm.report.page.evidence`."""
    from trustmm.report.page.evidence import evidence_page

    return evidence_page(picture, paths, metric, nominal, notes)


def work(assignment: "Assignment") -> "Outcome":
    """What a worker process of a sweep does: its task, and the page of the finished job."""
    from trustmm.sweep.worker import work

    return work(assignment, job_page)
