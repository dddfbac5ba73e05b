"""Seeds where they decide something: comparisons are read look by look, and only the undecided ones get more seeds.

The first look is taken everywhere; cells of the base are shared by all comparisons of a row. Then rounds follow, each
with the next look of every open comparison, the most promising per second first, as long as the budget lasts. A command
that is repeated takes finished jobs from their folders and comes to the same decisions.
"""

import json
import logging
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np

from trustmm.options.checks import Count, Positive, Seed, Share, Within, check_value
from trustmm.seeding import stream
from trustmm.statistics.seeds import holm
from trustmm.statistics.sequential import Looks, Question, Reading, looks, read
from trustmm.store.files import atomic
from trustmm.store.origin import compared, legend, origins
from trustmm.store.sweep_folder import LOOKS
from trustmm.study.evidence_options import EvidenceOptions
from trustmm.study.space import Space, Value, parse_space

if TYPE_CHECKING:
    from hydra.core.config_loader import ConfigLoader

    from trustmm.sweep.launch import SweepLauncher
    from trustmm.tracking.mlflow import Status

log = logging.getLogger(__name__)
PICTURE = "evidence.png"
OBSTACLES = ("failed", "data differ")
"""Ends of a comparison that say nothing."""
SPENT = "budget spent"
Cell = tuple[tuple[str, Value], ...]
"""A job without its seed: keys and values."""


@dataclass
class Comparison:
    """One row of a study, and the value that is held against the base there."""

    row: Cell
    base: Cell
    treated: Cell
    label: str
    of_data: bool = False
    """Whether two data are compared, and not two methods on the same."""
    taken: int = 0
    """Looks that have been read."""
    reading: Reading | None = None
    ended: str = ""
    """better, worse, equivalent, futile, budget spent, failed or data differ; empty while undecided."""
    path: list[dict[str, Any]] = field(default_factory=list)
    """A line for every look."""

    @property
    def leaning(self) -> float:
        """The difference at the look with the smallest p value so far, which is the one that a verdict speaks of."""
        return next(float(line["estimate"]) for line in self.path if line["p"] == self.path[-1]["p"])


@dataclass
class Found:
    """Test values and seconds of finished jobs."""

    values: dict[tuple[Cell, int], float] = field(default_factory=dict)
    """By cell and seed."""
    seconds: dict[tuple[Cell, int], float] = field(default_factory=dict)
    jobs: dict[tuple[Cell, int], Mapping[str, Any]] = field(default_factory=dict)
    """Their ``result.json``."""

    def obstacle(self, comparison: Comparison, seeds: int) -> str:
        """Why the first seeds cannot be compared, as a comparison ends; empty where they can."""
        pairs = list(_both(comparison, seeds))
        if any(key not in self.values for pair in pairs for key in pair):
            return "failed"
        same = (self.jobs[one]["content_digest"] == self.jobs[other]["content_digest"] for one, other in pairs)
        return "" if comparison.of_data or all(same) else "data differ"

    def differences(self, comparison: Comparison, seeds: int) -> list[float]:
        """Treated minus base for the first seeds."""
        return [self.values[treated] - self.values[base] for treated, base in _both(comparison, seeds)]

    def environments(self, comparison: Comparison, seeds: int) -> str:
        """Letters of what the first seeds were computed in, see `store.origin`."""
        letter = dict(zip(self.jobs, origins(list(self.jobs.values())), strict=True))
        return compared((letter[treated], letter[base]) for treated, base in _both(comparison, seeds))

    def expected_seconds(self, jobs: Iterable[tuple[Cell, int]]) -> float:
        """Of jobs together: the mean of what their cells took so far; nothing where a cell has not run."""
        took: dict[Cell, list[float]] = defaultdict(list)
        for (cell, _), seconds in self.seconds.items():
            took[cell].append(seconds)
        return float(sum(np.mean(took[cell]) for cell, _ in jobs if took[cell]))


def _both(comparison: Comparison, seeds: int) -> Iterator[tuple[tuple[Cell, int], tuple[Cell, int]]]:
    """Treated and base of each of the first seeds."""
    return (((comparison.treated, seed), (comparison.base, seed)) for seed in range(seeds))


MakePage = Callable[[Path, Mapping[str, tuple[Sequence[Mapping[str, Any]], str]], str, float, Sequence[str]], str]
"""From a file to draw in, the looks of every comparison and how it ended, metric, level and notes, to Markdown."""


def run_evidence(
    options: EvidenceOptions,
    arguments: Sequence[str],
    folder: Path,
    launcher: Any,
    config_loader: "ConfigLoader",
    page: MakePage,
) -> list[Comparison]:
    """Run the comparisons of a command until each has ended, and leave what was found in the sweep's folder.

    Args:
        options: of ``hydra.sweeper``.
        arguments: overrides of the command line.
        folder: of the sweep.
        launcher: one of this package.
        config_loader: Hydra's.
        page: draws the paths into a file, and returns the table as Markdown.

    Raises: ValueError for impossible options; `trustmm.sweep.launch.JobsFailed` if a comparison met an obstacle.
    """
    from trustmm.sweep.launch import JobsFailed, SweepLauncher, alone

    if not isinstance(launcher, SweepLauncher):
        raise ValueError(
            "hydra/sweeper=trustmm_evidence needs hydra/launcher=trustmm_pool or hydra/launcher=trustmm_slurm, got "
            f"{type(launcher).__name__}"
        )
    check_options(options)
    space = parse_space(options.params, arguments, config_loader)
    comparisons = comparisons_of(space, options)
    when = looks(options.looks, stream(options.seed, "looks"), sided=1 if options.sided == 1 else 2)
    level = when.nominal(options.alpha / len(comparisons))
    log.info("%d comparisons; a look is significant below p = %.4f", len(comparisons), level)
    status: Status = "KILLED"
    found = Found()
    with alone(folder):
        try:
            _rounds(comparisons, space, options, when, launcher, found)
            status = "FAILED" if any(each.ended in OBSTACLES for each in comparisons) else "FINISHED"
        finally:
            note = leave(comparisons, options, when, folder, page, found)
            launcher.sweep.finish(status, note)
    if stopped := [f"{each.label}: {each.ended}" for each in comparisons if each.ended in OBSTACLES]:
        raise JobsFailed(f"{len(stopped)} of {len(comparisons)} comparisons could not be made: {'; '.join(stopped)}")
    return comparisons


def check_options(options: EvidenceOptions) -> None:
    """Raise ValueError that names the key."""
    checks: dict[str, tuple[Any, Any]] = {
        "alpha": (options.alpha, Annotated[float, Within("(0, 1)")]),
        "futility": (options.futility, Share),
        "margin": (options.margin, Share),
        "max_jobs": (options.max_jobs, Count | None),
        "max_hours": (options.max_hours, Positive | None),
        "sided": (options.sided, Literal[1, 2]),
        "seed": (options.seed, Seed),
    }
    for key, (value, annotation) in checks.items():
        check_value(f"hydra.sweeper.{key}", value, annotation)


def comparisons_of(space: Space, options: EvidenceOptions) -> list[Comparison]:
    """Every row of the space with every value that is held against the base.

    Raises: ValueError if the key to compare does not vary, lacks the base, or the seed is an axis.
    """
    axes = {axis.key: axis for axis in space.axes}
    if "seed" in axes:
        raise ValueError("the study chooses seeds itself: remove seed from hydra.sweeper.params and the command line")
    if options.compare not in axes:
        raise ValueError(
            f"hydra.sweeper.compare={options.compare} must be a key that varies, one of: {', '.join(axes)}"
        )
    values = axes[options.compare].values
    if options.base not in values or len(values) < 2:
        raise ValueError(
            f"hydra.sweeper.base={options.base} must be one of at least two values of {options.compare}, got {values}"
        )
    found = []
    for cell in space.cells():
        if (treated := cell[options.compare]) != options.base:
            row = {key: value for key, value in cell.items() if key != options.compare}
            label = " ".join([*(f"{key}={value}" for key, value in row.items()), f"{options.compare}={treated}"])
            base = cell | {options.compare: options.base}
            of_data = options.compare.lstrip("+").partition(".")[0] == "dataset"
            found.append(Comparison(tuple(row.items()), tuple(base.items()), tuple(cell.items()), label, of_data))
    return found


def _rounds(
    comparisons: Sequence[Comparison],
    space: Space,
    options: EvidenceOptions,
    when: Looks,
    launcher: "SweepLauncher",
    found: Found,
) -> None:
    while chosen := _affordable(comparisons, found, options):
        _run(_jobs(chosen, when.at, found), space, options, launcher, found)
        for comparison in chosen:
            _take_look(comparison, found, options, when, len(comparisons))
        _settle(comparisons, options)


def _affordable(comparisons: Sequence[Comparison], found: Found, options: EvidenceOptions) -> list[Comparison]:
    """The open comparisons whose next look fits the budget, most promising per second first; others end."""
    waiting = [each for each in comparisons if not each.ended]
    chosen: list[Comparison] = []
    for comparison in sorted(waiting, key=lambda each: -_promise(each, found, options.looks)):
        jobs = _jobs([*chosen, comparison], options.looks, found)
        seconds = sum(found.seconds.values()) + found.expected_seconds(jobs)
        if len(found.seconds) + len(jobs) > (options.max_jobs or math.inf):
            comparison.ended = SPENT
        elif seconds > 3600 * (options.max_hours or math.inf):
            comparison.ended = SPENT
        else:
            chosen.append(comparison)
    return chosen


def _promise(comparison: Comparison, found: Found, at: Sequence[int]) -> float:
    """Chance of a verdict per second that the next look takes; everything is promising before the first look."""
    if comparison.reading is None or comparison.reading.chance is None:
        return math.inf
    seconds = found.expected_seconds(_jobs([comparison], at, found))
    return comparison.reading.chance / seconds if seconds else math.inf


def _pairs(comparison: Comparison, seeds: int) -> Iterator[tuple[Cell, int]]:
    return ((cell, seed) for seed in range(seeds) for cell in (comparison.base, comparison.treated))


def _jobs(chosen: Sequence[Comparison], at: Sequence[int], found: Found) -> list[tuple[Cell, int]]:
    """What the next looks need and nobody has run, in the order of the comparisons, base cells once."""
    needed = (key for each in chosen for key in _pairs(each, at[each.taken]))
    return [key for key in dict.fromkeys(needed) if key not in found.seconds]


def _run(
    jobs: Sequence[tuple[Cell, int]],
    space: Space,
    options: EvidenceOptions,
    launcher: "SweepLauncher",
    found: Found,
) -> None:
    from trustmm.sweep.launch import run_all

    words = [[*space.overrides(dict(cell)), f"seed={seed}"] for cell, seed in jobs]
    tasks = launcher.prepare(words, len(found.seconds))
    outcomes = run_all(launcher.executor, tasks, launcher.sweep)
    for key, task, outcome in zip(jobs, tasks, outcomes, strict=True):
        stored = launcher.sweep.stored(task) if outcome.status == "FINISHED" else None
        found.seconds[key] = 0.0 if stored is None else float(stored.summary["seconds"])
        if stored is not None:
            if options.metric not in stored.summary["test"]:
                known = ", ".join(stored.summary["test"])
                raise ValueError(f"hydra.sweeper.metric={options.metric} is not a test metric; available: {known}")
            found.values[key], found.jobs[key] = stored.summary["test"][options.metric], stored.summary


def _take_look(
    comparison: Comparison, found: Found, options: EvidenceOptions, when: Looks, num_comparisons: int
) -> None:
    """Read a comparison at its next look; the margin is a share of the base's mean at its first look."""
    seeds = when.at[comparison.taken]
    comparison.ended = found.obstacle(comparison, seeds)
    if comparison.ended:
        log.warning("%s: %s", comparison.label, comparison.ended)
        return
    differences = found.differences(comparison, seeds)
    base = np.mean([found.values[comparison.base, seed] for seed in range(options.looks[0])])
    question = Question(options.alpha / num_comparisons, options.margin * abs(float(base)), options.futility)
    comparison.reading = read(differences, when, question, stream(options.seed, "future", comparison.label, str(seeds)))
    comparison.taken += 1
    seconds = sum(found.seconds[key] for key in _pairs(comparison, seeds))
    line = {"comparison": comparison.label, "seeds": seeds, "difference": differences[-1], "seconds": seconds}
    comparison.path.append(line | asdict(comparison.reading) | {"margin": question.margin})
    comparison.ended = "" if comparison.reading.state == "undecided" else comparison.reading.state
    log.info(
        "%s: %d seeds, difference %+.5f [%+.5f, %+.5f], p %.3f: %s",
        *(comparison.label, seeds, comparison.reading.estimate, comparison.reading.low, comparison.reading.high),
        *(comparison.reading.p, comparison.reading.state),
    )


def _settle(comparisons: Sequence[Comparison], options: EvidenceOptions) -> None:
    """Holm over all comparisons: one that the others' verdicts leave room for need not wait for its own level."""
    read_ones = [each for each in comparisons if each.reading is not None]
    missing = len(comparisons) - len(read_ones)
    adjusted = holm([each.reading.p for each in read_ones if each.reading is not None] + [1.0] * missing)
    for comparison, p in zip(read_ones, adjusted, strict=False):
        if comparison.ended in ("", "futile", SPENT) and p <= options.alpha:
            comparison.ended = "better" if comparison.leaning > 0 else "worse"
        comparison.path[-1]["p_holm"] = float(p)


def leave(
    comparisons: Sequence[Comparison], options: EvidenceOptions, when: Looks, folder: Path, page: MakePage, found: Found
) -> str:
    """Write ``evidence.jsonl``, a line for every look, and the picture of the paths; the table as Markdown."""
    for comparison in comparisons:
        for line in comparison.path:
            line["environment"] = found.environments(comparison, line["seeds"])
            line["ended"] = comparison.ended if line is comparison.path[-1] else ""
    lines = [line for comparison in comparisons for line in comparison.path]
    if not lines:
        return ""
    nominal, where = when.nominal(options.alpha / len(comparisons)), legend(list(found.jobs.values()))
    head: Mapping[str, Any] = asdict(options) | {"nominal": nominal, "comparisons": len(comparisons)}
    head = {**head, "environments": where}
    with atomic(folder / LOOKS) as path:
        path.write_text("".join(f"{_json(line)}\n" for line in (head, *lines)), encoding="utf-8")
    paths = {each.label: (each.path, each.ended) for each in comparisons if each.path}
    notes = [f"{each.label}: {each.ended}" for each in comparisons if each.ended in OBSTACLES]
    return page(folder / PICTURE, paths, options.metric, nominal, [*notes, *(f"Environment {line}" for line in where)])


def _json(line: Mapping[str, Any]) -> str:
    """A line of JSON, which knows no infinity: what is not finite becomes null."""
    infinite = {key for key, value in line.items() if isinstance(value, float) and not math.isfinite(value)}
    return json.dumps({**line, **dict.fromkeys(infinite)}, allow_nan=False)
