"""The page of a study that stops by itself: every comparison's verdict, and the path of its difference over seeds."""

from collections.abc import Mapping, Sequence
from pathlib import Path as File
from typing import TYPE_CHECKING, Any

from trustmm.report.palette import BLUE, ORANGE
from trustmm.store.files import atomic

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Path = Sequence[Mapping[str, Any]]
"""A comparison's looks: seeds, estimate, low, high, p, e, margin, seconds, environment."""
COLUMNS = ("comparison", "verdict", "seeds", "difference", "interval", "p", "e", "hours", "environment")


def evidence_page(
    picture: File, paths: Mapping[str, tuple[Path, str]], metric: str, nominal: float, notes: Sequence[str]
) -> str:
    """Draw the paths into a file; the verdicts as Markdown.

    Args:
        picture: the file.
        paths: of every comparison, its looks and how it ended.
        metric: that was compared.
        nominal: level of each look.
        notes: on what cannot be compared, and the environments that the table names by letter.
    """
    with atomic(picture) as path:
        draw_paths(paths, metric).savefig(path)
    rows = [f"| {' | '.join(row)} |" for row in (COLUMNS, ["---"] * len(COLUMNS), *verdicts(paths))]
    return "\n".join([caption(metric, nominal), "", *rows, *(f"\n{note}" for note in notes)])


def caption(metric: str, nominal: float) -> str:
    """What the numbers of the table are."""
    return (
        f"Differences in test {metric}, paired over seeds; each look at level {nominal:.4f}; intervals and p hold over "
        "all looks together"
    )


def verdicts(paths: Mapping[str, tuple[Path, str]]) -> list[list[str]]:
    """A row of `COLUMNS` for every comparison."""
    rows = []
    for label, (path, ended) in paths.items():
        last = path[-1]
        interval = f"[{last['low']:+.4f}, {last['high']:+.4f}]"
        tests = [f"{last['estimate']:+.4f}", interval, f"{last['p']:.3f}", f"{last['e']:.3g}"]
        rest = [f"{last['seconds'] / 3600:.2f}", last["environment"]]
        rows.append([label, ended or "undecided", str(last["seeds"]), *tests, *rest])
    return rows


def draw_paths(paths: Mapping[str, tuple[Path, str]], metric: str) -> "Figure":
    """Difference over seeds with the boundary that it has to cross, one panel a comparison; the margin is shaded."""
    from matplotlib.figure import Figure

    columns = min(3, len(paths))
    rows = -(-len(paths) // columns)
    figure = Figure(figsize=(3.6 * columns + 0.6, 2.8 * rows + 0.7), layout="constrained", dpi=120)
    panels = list(figure.subplots(rows, columns, squeeze=False).flat)
    for panel, (label, (path, ended)) in zip(panels, paths.items(), strict=False):
        seeds = [look["seeds"] for look in path]
        centre, low, high = ([look[name] for look in path] for name in ("estimate", "low", "high"))
        half = [end - middle for middle, end in zip(centre, high, strict=True)]
        margin = path[-1]["margin"]
        panel.axhspan(-margin, margin, color="#999999", alpha=0.15, linewidth=0, label="margin of equivalence")
        panel.axhline(0, color="black", linewidth=0.8)
        for sign in (-1, 1):
            edge = [sign * one for one in half]
            panel.plot(seeds, edge, "--_", color=ORANGE, linewidth=1.2, label="boundary" if sign > 0 else None)
        panel.vlines(seeds, low, high, color=BLUE, alpha=0.4, label="repeated interval")
        panel.plot(seeds, centre, "o-", color=BLUE, markersize=4, label="difference")
        panel.set_title(f"{label}\n{ended or 'undecided'} after {seeds[-1]} seeds", fontsize=8)
        panel.set_xticks(seeds)
        panel.margins(x=0.1)
        panel.set_xlabel("seeds", fontsize=8)
        panel.tick_params(labelsize=7)
    for panel in panels[len(paths) :]:
        panel.axis("off")
    known = panels[0].get_legend_handles_labels()
    figure.legend(*known, loc="outside lower center", ncols=min(4, 2 * columns), fontsize=7, frameon=False)
    figure.supylabel(f"difference in test {metric}", fontsize=9)
    return figure
