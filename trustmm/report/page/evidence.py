"""The page of a study that stops by itself: every comparison's verdict, and the path of its difference over seeds."""

from collections.abc import Mapping, Sequence
from pathlib import Path as File
from typing import TYPE_CHECKING, Any

from trustmm.report.palette import IN_TURN
from trustmm.store.files import atomic

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Path = Sequence[Mapping[str, Any]]
"""A comparison's looks: seeds, estimate, low, high, p, e, margin, environment."""


def evidence_page(
    picture: File, paths: Mapping[str, tuple[Path, str]], metric: str, nominal: float, notes: Sequence[str]
) -> str:
    """Draw the paths into a file; the table as Markdown. Arguments as of `evidence_table`."""
    with atomic(picture) as path:
        draw_paths(paths, metric).savefig(path)
    return evidence_table(paths, metric, nominal, notes)


def evidence_table(paths: Mapping[str, tuple[Path, str]], metric: str, nominal: float, notes: Sequence[str]) -> str:
    """Verdicts as Markdown.

    Args:
        paths: of every comparison, its looks and how it ended.
        metric: that was compared.
        nominal: level of each look.
        notes: on what cannot be compared, and the environments that the table names by letter.
    """
    lines = [
        f"Differences in test {metric}, paired over seeds; each look at level {nominal:.4f}; intervals and p hold over "
        "all looks together",
        "",
        "| comparison | verdict | seeds | difference | interval | p | e | hours | environment |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for label, (path, ended) in paths.items():
        last = path[-1]
        interval = f"[{last['low']:+.4f}, {last['high']:+.4f}]"
        numbers = f"{last['estimate']:+.4f} | {interval} | {last['p']:.3f} | {last['e']:.3g}"
        rest = f"{last['seconds'] / 3600:.2f} | {last['environment']}"
        lines.append(f"| {label} | {ended or 'undecided'} | {last['seeds']} | {numbers} | {rest} |")
    return "\n".join([*lines, *(f"\n{note}" for note in notes)])


def draw_paths(paths: Mapping[str, tuple[Path, str]], metric: str) -> "Figure":
    """Difference and repeated interval over seeds, one panel a comparison; the margin is shaded."""
    from matplotlib.figure import Figure

    columns = min(3, len(paths))
    rows = -(-len(paths) // columns)
    figure = Figure(figsize=(3.6 * columns + 0.6, 2.8 * rows + 0.3), layout="constrained", dpi=120)
    panels = figure.subplots(rows, columns, squeeze=False).flat
    for panel, (label, (path, ended)) in zip(panels, paths.items(), strict=False):
        seeds = [look["seeds"] for look in path]
        centre, low, high = ([look[name] for look in path] for name in ("estimate", "low", "high"))
        panel.axhspan(-path[-1]["margin"], path[-1]["margin"], color="#999999", alpha=0.15, linewidth=0)
        panel.axhline(0, color="black", linewidth=0.8)
        panel.vlines(seeds, low, high, color=IN_TURN[0], alpha=0.5)
        panel.plot(seeds, centre, "o-", color=IN_TURN[0], markersize=4)
        panel.set_title(f"{label}\n{ended or 'undecided'} after {seeds[-1]} seeds", fontsize=8)
        panel.set_xticks(seeds)
        panel.set_xlabel("seeds", fontsize=8)
        panel.tick_params(labelsize=7)
    for panel in list(panels)[len(paths) :]:
        panel.axis("off")
    figure.supylabel(f"difference in test {metric}", fontsize=9)
    return figure
