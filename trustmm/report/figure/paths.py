"""The path of a study that stops by itself: difference and boundary over seeds."""

from collections.abc import Iterator

from trustmm.report.figure.line import Drawing
from trustmm.report.page.evidence import draw_paths
from trustmm.report.runs.read import Runs


def path_figures(runs: Runs) -> Iterator[Drawing]:
    """A figure for every study that stopped by itself."""
    for number, study in enumerate(runs.looks):
        caption = (
            "Difference to the base, paired over seeds, at every look that was taken. A comparison ends as better or "
            "worse where the difference crosses the boundary, and as equivalent where its repeated interval lies "
            f"within the margin. Study: {study.folder}."
        )
        name = "evidence" if number == 0 else f"evidence_{number + 1}"
        yield Drawing(name, "Differences over seeds", draw_paths(study.paths, study.metric), caption)
